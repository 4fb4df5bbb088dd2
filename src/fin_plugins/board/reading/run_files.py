"""Finding the files of each run: a result file and the sample files with the same folder and time stamp.

lm-eval writes `results_<stamp>.json` (`X_<stamp>.json` with `--output_path X.json`) and, per task,
`samples_<task>_<stamp>.jsonl`. `fin board export` writes `answers.parquet`, which holds any number of runs.

A manifest, as written by `fin eval --written`, names the files of one model. The board shows the manifest's name as
their source and only the day as their date, so that the same results give the same bytes wherever they were made.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fin_plugins.board.board_data import Problem
from fin_plugins.board.reading.answers_parquet import ANSWERS_FILE, ExportedRun, read_export
from fin_plugins.board.reading.json_utils import MAX_RESULT_BYTES, UnusableFile, as_strings
from fin_plugins.common.errors import FinError
from fin_plugins.common.foreign_files import UnreadableFile, read_json

_STAMPED_NAME = re.compile(r"(.*)_(\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}(?:\.\d+)?)\.(json|jsonl)", re.DOTALL)
_SAMPLES_PREFIX = "samples_"


@dataclass(frozen=True)
class RunFiles:
    """The files of one run.

    Attributes:
        result: the result file, or the export.
        display_name: name in messages and on the board, relative to the folder given.
        stamp: time stamp in the file name; empty if there is none.
        samples: lm-eval's sample files by task.
        in_manifest: whether a manifest names the files.
        exported: the run's content, if it comes from an export.
        export_name: name in messages of the export.
    """

    result: Path
    display_name: str
    stamp: str
    samples: dict[str, Path] = field(default_factory=dict)
    in_manifest: bool = False
    exported: ExportedRun | None = None
    export_name: str = ""

    @property
    def message_name(self) -> str:
        """Name in messages of the run."""
        return f"{self.export_name}: {self.display_name}" if self.export_name else self.display_name

    def display_name_of(self, file: Path) -> str:
        """Name in messages of another file of the run."""
        if self.in_manifest:
            return f"{self.display_name}: {file.name}"
        return self.display_name.removesuffix(self.result.name) + file.name


class _SampleFileIndex:
    """Sample files by folder and stamp. Each folder is listed once, however many runs it holds."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, dict[str, Path]]] = {}

    def find(self, folder: Path, stamp: str) -> dict[str, Path]:
        """The files of one run by task."""
        if not stamp:
            return {}
        if folder not in self._folders:
            self._folders[folder] = _sample_files_by_stamp(folder)
        return self._folders[folder].get(stamp, {})


def find_runs(paths: Sequence[Path]) -> tuple[list[RunFiles], list[Problem]]:
    """Find all runs at any depth, except in folders whose name begins with a dot.

    Args:
        paths: folders, result files, manifests, or exports.

    Raises:
        FinError: a path does not exist, or there is no result file at all.
    """
    runs: dict[tuple[str, str], RunFiles] = {}
    problems: list[Problem] = []
    index = _SampleFileIndex()
    for path in paths:
        if not path.exists():
            raise FinError(f"{path}: no such file or folder; give the folder named by lm-eval's --output_path")
        if path.is_dir():
            prefix = f"{path.name}/" if len(paths) > 1 and path.name else ""
            path_runs = _find_in_tree(path, prefix, index, problems)
        else:
            path_runs = _find_by_name(path, index, problems)
        for run in path_runs:
            # `Path.resolve` fails for a link to itself.
            location = os.path.realpath(run.result), run.display_name if run.exported else ""
            runs[location] = run if run.in_manifest else runs.get(location, run)
    if not runs and not problems:
        raise FinError(
            f"{', '.join(map(str, paths))}: contains no result file (results_*.json) or {ANSWERS_FILE}; "
            "run lm_eval with --output_path and --log_samples and give that folder"
        )
    return list(runs.values()), problems


def read_manifest(file: Path) -> list[Path] | None:
    """The result files named by a manifest; None if the file is not a manifest.

    Raises:
        UnusableFile: it cannot be read, is invalid JSON, or names files that do not exist.
    """
    if file.suffix != ".json":
        return None
    try:
        content = read_json(file, MAX_RESULT_BYTES, replace_surrogates=True)
    except UnreadableFile as error:
        raise UnusableFile(error.reason) from error
    if not (isinstance(content, dict) and content.keys() == {"model", "files"}):
        return None
    names = as_strings(content["files"])
    if names is None:
        raise UnusableFile("is a manifest whose `files` are not file names; run the `fin eval` that wrote it again")
    files = [file.parent / name for name in names]
    missing = next((listed_file for listed_file in files if not listed_file.is_file()), None)
    if missing is not None:
        message = f"names {missing}, which does not exist; run the `fin eval` that wrote the manifest again"
        raise UnusableFile(message, is_error=True)
    return [listed_file for listed_file in files if listed_file.suffix == ".json"]


def _find_in_tree(root: Path, prefix: str, index: _SampleFileIndex, problems: list[Problem]) -> list[RunFiles]:
    runs = []
    for folder, file_names in _walk(root, problems):
        relative = prefix + (f"{folder.relative_to(root).as_posix()}/" if folder != root else "")
        relative = _printable(relative)
        folder_runs = _runs_in_folder(folder, file_names, relative, index)
        problems += _orphaned_sample_files(file_names, folder_runs, relative)
        runs += folder_runs
        if ANSWERS_FILE in file_names:
            runs += _find_in_export(folder / ANSWERS_FILE, relative, problems)
    return runs


def _find_in_export(file: Path, prefix: str, problems: list[Problem]) -> list[RunFiles]:
    export_name = prefix + _printable(file.name)
    try:
        exported_runs, messages = read_export(file)
    except UnusableFile as error:
        problems.append(Problem(export_name, f"{error}: it was left out", error.is_error))
        return []
    problems += [Problem(export_name, f"{message}: they were left out", False) for message in messages]
    runs = []
    for name, exported in exported_runs.items():
        stamped = _STAMPED_NAME.fullmatch(name)
        runs.append(
            RunFiles(
                result=file,
                display_name=prefix + name,
                stamp=stamped[2] if stamped else "",
                exported=exported,
                export_name=export_name,
            )
        )
    return runs


def _find_by_name(file: Path, index: _SampleFileIndex, problems: list[Problem]) -> list[RunFiles]:
    """The runs of a result file, manifest or export."""
    if file.suffix == ".parquet":
        return _find_in_export(file, "", problems)
    display_name = _printable(file.name)
    try:
        results = read_manifest(file)
    except UnusableFile as error:
        problems.append(Problem(display_name, f"{error}: it was left out", error.is_error))
        return []
    if results is not None:
        runs = [run for result in results for run in _runs_in_folder(result.parent, [result.name], "", index)]
        return [replace(run, display_name=display_name, in_manifest=True) for run in runs]
    runs = _runs_in_folder(file.parent, [file.name], "", index)
    if not runs:
        message = (
            "is neither a result file (results_*.json), nor a manifest from `fin eval --written`, "
            "nor an export (*.parquet): it was left out"
        )
        problems.append(Problem(display_name, message, False))
    return runs


def _walk(root: Path, problems: list[Problem]) -> list[tuple[Path, list[str]]]:
    def report(error: OSError) -> None:
        folder = os.path.relpath(error.filename or root, root)
        problems.append(Problem(folder, f"cannot be read ({error.strerror}): its content was left out", False))

    folders = []
    for folder, subfolders, file_names in os.walk(root, onerror=report):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        folders.append((Path(folder), sorted(file_names)))
    return folders


def _runs_in_folder(folder: Path, file_names: Sequence[str], prefix: str, index: _SampleFileIndex) -> list[RunFiles]:
    """The runs of the result files among the names, with all sample files of the folder."""
    runs = []
    for name in file_names:
        stamped = _STAMPED_NAME.fullmatch(name)
        if name.endswith(".json") and (stamped or re.match(r"results[_.]", name)):
            stamp = stamped[2] if stamped else ""
            runs.append(RunFiles(folder / name, prefix + _printable(name), stamp, index.find(folder, stamp)))
    return runs


def _stamp_and_task(file_name: str) -> tuple[str, str] | None:
    """Stamp and task in the name of a sample file; None for other files."""
    matched = _STAMPED_NAME.fullmatch(file_name)
    if matched is None or matched[3] != "jsonl" or not matched[1].startswith(_SAMPLES_PREFIX):
        return None
    return matched[2], matched[1].removeprefix(_SAMPLES_PREFIX)


def _sample_files_by_stamp(folder: Path) -> dict[str, dict[str, Path]]:
    """From a listing, never from a name that a result file gives: a task may be called `../../x`."""
    by_stamp: dict[str, dict[str, Path]] = {}
    try:
        files = list(folder.iterdir())
    except OSError:
        return by_stamp  # a file named by the user may be readable all the same
    for file in files:
        if (parts := _stamp_and_task(file.name)) is not None:
            stamp, task = parts
            by_stamp.setdefault(stamp, {})[task] = file
    return by_stamp


def _orphaned_sample_files(file_names: Sequence[str], runs: Sequence[RunFiles], prefix: str) -> list[Problem]:
    """One problem per stamp without a result file."""
    stamps = {run.stamp for run in runs}
    orphans: dict[str, list[str]] = {}
    for name in file_names:
        if (parts := _stamp_and_task(name)) is not None and parts[0] not in stamps:
            orphans.setdefault(parts[0], []).append(name)
    return [
        Problem(
            prefix + names[0],
            f"has no result file (results_{stamp}.json) beside it, perhaps because the run was killed: "
            f"{'it was' if len(names) == 1 else f'it and {len(names) - 1} more of that run were'} left out",
            False,
        )
        for stamp, names in orphans.items()
    ]


def _printable(name: str) -> str:
    """A file name without bytes that are not text."""
    return name.encode(errors="replace").decode()
