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
from fin_plugins.errors import FinError

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


def find(paths: Sequence[Path]) -> tuple[list[RunFiles], list[Problem]]:
    """Find all runs, at any depth; folders whose name begins with a dot are other programs' own.

    Args:
        paths: folders, result files, or lists of them.

    Raises:
        FinError: a path does not exist, a list names files that are not there, or there is no result file at all.
    """
    runs: dict[Path, RunFiles] = {}
    problems: list[Problem] = []
    for path in paths:
        if not path.exists():
            raise FinError(f"{path}: no such file or folder: give the folder that lm-eval's --output_path named")
        if (named := listed(path)) is not None:
            runs.update((run.result.resolve(), run) for result in named for run in _of_list(path, result))
            continue
        prefix = f"{path.name}/" if len(paths) > 1 and path.is_dir() and path.name else ""
        for folder, names in [(path.parent, [path.name])] if path.is_file() else _folders(path, problems):
            shown = prefix + (f"{folder.relative_to(path).as_posix()}/" if path.is_dir() and folder != path else "")
            shown = shown.encode(errors="replace").decode()  # a name may hold bytes that are no text
            found = _runs(folder, names, shown)
            problems += [] if path.is_file() else _without_result(names, found, shown)
            runs.update((run.result.resolve(), run) for run in found if run.result.resolve() not in runs)
    if not runs and not problems:
        raise FinError(
            f"{', '.join(map(str, paths))}: no result file (results_*.json) in it: "
            "run lm_eval with --output_path and --log_samples, and give that folder"
        )
    return list(runs.values()), problems


def _folders(root: Path, problems: list[Problem]) -> list[tuple[Path, list[str]]]:
    def unreadable(error: OSError) -> None:
        folder = os.path.relpath(error.filename or root, root)
        problems.append(Problem(folder, f"cannot be read ({error.strerror}): what is in it was left out", False))

    found = []
    for folder, inner, names in os.walk(root, onerror=unreadable):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        found.append((Path(folder), sorted(names)))
    return found


def _runs(folder: Path, names: Sequence[str], shown: str) -> list[RunFiles]:
    """The result files among the names; sample files are looked for in the folder, whatever the names."""
    runs = []
    for name in names:
        stamped = _STAMPED.fullmatch(name)
        if name.endswith(".json") and (stamped or re.match(r"results[_.]", name)):
            stamp = stamped[2] if stamped else ""
            samples, answers = (_of_tasks(folder, kind, stamp) for kind in ("jsonl", "csv"))
            runs.append(
                RunFiles(folder / name, shown + name.encode(errors="replace").decode(), stamp, samples, answers)
            )
    return runs


def _of_list(path: Path, result: Path) -> list[RunFiles]:
    return [replace(run, shown=path.name, listed=True) for run in _runs(result.parent, [result.name], "")]


def _of_tasks(folder: Path, kind: str, stamp: str) -> dict[str, Path]:
    """The folder is listed, and no name built from what a file says: a task may be called `../../x`."""
    start = _OF_TASKS[kind]
    found = {}
    for file in folder.iterdir() if stamp else ():
        matched = _STAMPED.fullmatch(file.name)
        if matched and (matched[2], matched[3]) == (stamp, kind) and matched[1].startswith(start):
            found[matched[1].removeprefix(start)] = file
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
