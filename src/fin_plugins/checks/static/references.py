"""What a file points to: functions and data files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fin_plugins.checks.functions import all_in, folder_of, problem
from fin_plugins.checks.model import Finding, TaskFile
from fin_plugins.checks.static.keys import OWN_ROWS
from fin_plugins.common.validation import did_you_mean
from fin_plugins.common.yaml_nodes import Key


def functions(file: TaskFile) -> Iterator[Finding]:
    """Every `!function` leads somewhere."""
    for key, path in all_in(file.data):
        if message := problem(path, folder_of(file, key)):
            yield file.finding("F04", key, message)


def data_files(file: TaskFile) -> Iterator[Finding]:
    """A user's own table is there, and is named in a way that is right on another machine, too."""
    settings = file.data.get("dataset_kwargs")
    if file.data.get("custom_dataset") != OWN_ROWS or not isinstance(settings, dict):
        return
    for key, name in _tables(settings):
        if Path(name).is_absolute():
            message = f"{name}: an absolute path is right on one machine only: name it from this file's folder"
            yield file.finding("F03", key, message)
        elif not _is_file(file.path.parent / name):
            yield file.finding("F05", key, f"{name}: no such file in {Path(file.name).parent}{_beside(file, name)}")


def _tables(settings: dict[str, Any]) -> Iterator[tuple[Key, str]]:
    if isinstance(settings.get("file"), str):
        yield ("dataset_kwargs", "file"), settings["file"]
    files = settings.get("files")
    for split, name in files.items() if isinstance(files, dict) else ():
        if isinstance(name, str):
            yield ("dataset_kwargs", "files", split), name


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _beside(file: TaskFile, name: str) -> str:
    """A file in the same folder with nearly this name."""
    try:
        return did_you_mean(name, [path.name for path in (file.path.parent / name).parent.iterdir() if path.is_file()])
    except (OSError, ValueError):
        return ""
