"""Which files belong together: a result file and the sample files of its run, told by folder and time stamp.

lm-eval writes `results_<stamp>.json` (with `--output_path X.json`: `X_<stamp>.json`) and beside it a
`samples_<task>_<stamp>.jsonl` a task; `fin board export` writes `answers_<task>_<stamp>.csv` in their place.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fin_plugins.board.model import Problem
from fin_plugins.board.reading.lists import listed
from fin_plugins.board.reading.values import Unusable
from fin_plugins.common.errors import FinError

_STAMPED = re.compile(r"(.*)_(\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}(?:\.\d+)?)\.(json|jsonl|csv)", re.DOTALL)
_OF_TASKS = {"jsonl": "samples_", "csv": "answers_"}


@dataclass(frozen=True)
class RunFiles:
    """The files of one run.

    Attributes:
        result: the result file.
        shown: how messages call it: relative to the folder that was given.
        stamp: the time in its name; empty where it has none.
        samples: lm-eval's sample files by task.
        answers: exported answer files by task (its name made fit for a file name).
        listed: whether a list names them.
    """

    result: Path
    shown: str
    stamp: str
    samples: dict[str, Path] = field(default_factory=dict)
    answers: dict[str, Path] = field(default_factory=dict)
    listed: bool = False

    def beside(self, file: Path) -> str:
        """How messages call another of its files."""
        return f"{self.shown}: {file.name}" if self.listed else self.shown.removesuffix(self.result.name) + file.name


class _Beside:
    """Sample and answer files by their run's stamp. A folder is listed once, however many runs are in it."""

    def __init__(self) -> None:
        self._known: dict[Path, dict[tuple[str, str], dict[str, Path]]] = {}

    def of(self, folder: Path, kind: str, stamp: str) -> dict[str, Path]:
        """The files of one run by task; `kind` is `jsonl` or `csv`."""
        if not stamp:
            return {}
        if folder not in self._known:
            self._known[folder] = _by_stamp(folder)
        return self._known[folder].get((kind, stamp), {})


def find(paths: Sequence[Path]) -> tuple[list[RunFiles], list[Problem]]:
    """Find all runs, at any depth; folders whose name begins with a dot are other programs' own.

    Args:
        paths: folders, result files, or lists of them.

    Raises:
        FinError: a path does not exist, or there is no result file at all.
    """
    runs: dict[str, RunFiles] = {}
    problems: list[Problem] = []
    beside = _Beside()
    for path in paths:
        if not path.exists():
            raise FinError(f"{path}: no such file or folder: give the folder that lm-eval's --output_path named")
        if path.is_dir():
            found = _below(path, f"{path.name}/" if len(paths) > 1 and path.name else "", beside, problems)
        else:
            found = _named(path, beside, problems)
        for run in found:
            place = os.path.realpath(run.result)  # `resolve` fails for a link to itself
            runs[place] = run if run.listed else runs.get(place, run)
    if not runs and not problems:
        raise FinError(
            f"{', '.join(map(str, paths))}: no result file (results_*.json) in it: "
            "run lm_eval with --output_path and --log_samples, and give that folder"
        )
    return list(runs.values()), problems


def _below(root: Path, prefix: str, beside: _Beside, problems: list[Problem]) -> list[RunFiles]:
    """The runs in a folder and all below it."""
    runs = []
    for folder, names in _folders(root, problems):
        shown = prefix + (f"{folder.relative_to(root).as_posix()}/" if folder != root else "")
        shown = shown.encode(errors="replace").decode()  # a name may hold bytes that are no text
        found = _runs(folder, names, shown, beside)
        problems += _without_result(names, found, shown)
        runs += found
    return runs


def _named(file: Path, beside: _Beside, problems: list[Problem]) -> list[RunFiles]:
    """The runs of a file that was given by name: a result file, or a list of some."""
    shown = file.name.encode(errors="replace").decode()
    try:
        results = listed(file)
    except Unusable as error:
        problems.append(Problem(shown, f"{error}: it was left out", error.is_error))
        return []
    if results is not None:
        runs = [run for one in results for run in _runs(one.parent, [one.name], "", beside)]
        return [replace(run, shown=shown, listed=True) for run in runs]
    found = _runs(file.parent, [file.name], "", beside)
    if not found:
        said = "is neither a result file (results_*.json) nor a list that `fin eval --written` wrote: it was left out"
        problems.append(Problem(shown, said, False))
    return found


def _folders(root: Path, problems: list[Problem]) -> list[tuple[Path, list[str]]]:
    def unreadable(error: OSError) -> None:
        folder = os.path.relpath(error.filename or root, root)
        problems.append(Problem(folder, f"cannot be read ({error.strerror}): what is in it was left out", False))

    found = []
    for folder, inner, names in os.walk(root, onerror=unreadable):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        found.append((Path(folder), sorted(names)))
    return found


def _runs(folder: Path, names: Sequence[str], shown: str, beside: _Beside) -> list[RunFiles]:
    """The result files among the names; sample files are looked for in the folder, whatever the names."""
    runs = []
    for name in names:
        stamped = _STAMPED.fullmatch(name)
        if name.endswith(".json") and (stamped or re.match(r"results[_.]", name)):
            stamp = stamped[2] if stamped else ""
            samples, answers = (beside.of(folder, kind, stamp) for kind in _OF_TASKS)
            runs.append(
                RunFiles(folder / name, shown + name.encode(errors="replace").decode(), stamp, samples, answers)
            )
    return runs


def _by_stamp(folder: Path) -> dict[tuple[str, str], dict[str, Path]]:
    """The folder is listed, and no name built from what a file says: a task may be called `../../x`."""
    found: dict[tuple[str, str], dict[str, Path]] = {}
    try:
        files = list(folder.iterdir())
    except OSError:
        return found  # a file in it may be readable all the same
    for file in files:
        matched = _STAMPED.fullmatch(file.name)
        if matched and matched[1].startswith(_OF_TASKS.get(matched[3], "\0")):
            task = matched[1].removeprefix(_OF_TASKS[matched[3]])
            found.setdefault((matched[3], matched[2]), {})[task] = file
    return found


def _without_result(names: Sequence[str], runs: Sequence[RunFiles], shown: str) -> list[Problem]:
    known = {run.stamp for run in runs}
    lost: dict[str, list[str]] = {}
    for name in names:
        matched = _STAMPED.fullmatch(name)
        if matched and matched[1].startswith(_OF_TASKS.get(matched[3], "\0")) and matched[2] not in known:
            lost.setdefault(matched[2], []).append(name)
    return [
        Problem(
            shown + of_run[0],
            f"has no result file (results_{stamp}.json) beside it, from a killed run, perhaps: "
            f"{'it was' if len(of_run) == 1 else f'it and {len(of_run) - 1} more of that run were'} left out",
            False,
        )
        for stamp, of_run in lost.items()
    ]
