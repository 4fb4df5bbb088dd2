"""Finds fin tasks: those of the package, of given folders, and in the working directory."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from fin_plugins.checks.task_file import TaskFile, load_task_file, real_path
from fin_plugins.common.bundled import FOR_EDITORS
from fin_plugins.common.errors import FinError
from fin_plugins.common.foreign_files import read_text
from fin_plugins.common.locations import task_folder
from fin_plugins.common.validation import did_you_mean

_SUFFIXES = (".yaml", ".yml")
_PROTOCOLS = {"multiple_choice": "choice", "generate_until": "gen"}


@dataclass(frozen=True)
class TaskEntry:
    """A task of the catalogue.

    Attributes:
        file: the task file with its includes applied.
        groups: groups and tags of the task.
    """

    file: TaskFile
    groups: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The task's name."""
        return str(self.file.data["task"])

    @property
    def protocol(self) -> str:
        """`choice` (label likelihood), `gen` (generated answer), or lm-eval's name of another output type."""
        output_type = str(self.file.data.get("output_type", "generate_until"))
        return _PROTOCOLS.get(output_type, output_type)

    @property
    def fin(self) -> dict[str, Any]:
        """The card under `metadata.fin`; empty if there is none."""
        return self.file.card

    @property
    def description(self) -> str:
        """The comment at the top of the file, without the lines for editors."""
        lines = []
        for line in read_text(self.file.path).splitlines():
            if not line.startswith("#"):
                break
            if not line.startswith(FOR_EDITORS):
                lines.append(line.lstrip("# "))
        return " ".join(lines).strip()


@dataclass
class SearchResult:
    """The tasks of some files.

    Attributes:
        tasks: by name, in the order of the folders; if two have the same name the later one, as in lm-eval.
        problems: one line for each unreadable file.
    """

    tasks: dict[str, TaskEntry] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def search_tasks(folders: Sequence[Path]) -> SearchResult:
    """Read the tasks of the package, below the given folders, and directly in the working directory.

    Raises:
        FinError: one of the folders does not exist.
    """
    missing = next((folder for folder in folders if not folder.is_dir()), None)
    if missing is not None:
        raise FinError(f"--include_path {missing}: no such folder")
    files = [file for folder in (task_folder(), *folders) for file in sorted(folder.rglob("*.yaml"))]
    files += sorted(Path().glob("*.yaml"))
    last = {real_path(file): file for file in reversed(files) if not file.is_dir()}
    return _read_tasks(reversed(last.values()))


def find_task(name_or_path: str, folders: Sequence[Path]) -> TaskEntry:
    """The task of a name, or of a file.

    Raises:
        FinError: there is no such task or file, or the file is not a task.
    """
    known = search_tasks(folders).tasks
    if name_or_path in known:
        return known[name_or_path]
    if Path(name_or_path).suffix in _SUFFIXES:
        task = load_task_entry(Path(name_or_path))
        listed = known.get(task.name)
        return listed if listed and real_path(listed.file.path) == real_path(task.file.path) else task
    suggestion = did_you_mean(name_or_path, known)
    raise FinError(
        f"{name_or_path}: no such task{suggestion}; `fin task list` lists them, --include_path adds a folder"
    )


@cache
def bundled_tasks() -> SearchResult:
    """The tasks of the package alone."""
    return _read_tasks(sorted(task_folder().rglob("*.yaml")))


def load_task_entry(path: Path) -> TaskEntry:
    """The task of a file, with its tags but without its groups.

    Raises:
        FinError: the file does not exist, cannot be read, or is not a task.
    """
    if not os.path.lexists(path):
        raise FinError(f"{path}: no such file")
    file, findings = load_task_file(path, str(path))
    if file is None:
        raise FinError(f"{findings[0]}; `fin task check {path}` lists every problem")
    if not _is_task(file):
        raise FinError(f"{path}: not a task (`task: name`) but a {file.kind} file")
    return TaskEntry(file, tuple(map(str, file.tags)))


def _read_tasks(paths: Iterable[Path]) -> SearchResult:
    result, files = SearchResult(), list[TaskFile]()
    for path in paths:
        file, findings = load_task_file(path, str(path))
        if file is not None:
            files.append(file)
        elif findings and findings[0].code.startswith("Y"):
            result.problems.append(f"{findings[0]}; `fin task check {path}` lists every problem")
    members = {str(file.data["group"]): _member_names(file) for file in files if file.kind == "group"}
    for file in files:
        if _is_task(file) and file.is_fin_task:
            name = file.data["task"]
            groups = [group for group in members if name in _leaf_tasks(group, members, set())]
            result.tasks[name] = TaskEntry(file, (*groups, *map(str, file.tags)))
    return result


def _is_task(file: TaskFile) -> bool:
    return file.kind == "task" and isinstance(file.data.get("task"), str)


def _member_names(group: TaskFile) -> list[str]:
    members = group.data.get("task")
    items = members if isinstance(members, list) else [members]
    names = (item.get("task", item.get("group")) if isinstance(item, dict) else item for item in items)
    return [name for name in names if isinstance(name, str)]


def _leaf_tasks(group: str, members: dict[str, list[str]], visited: set[str]) -> Iterator[str]:
    """The tasks of a group and of its subgroups; a group that contains itself is visited once."""
    visited.add(group)
    for name in members[group]:
        if name not in members:
            yield name
        elif name not in visited:
            yield from _leaf_tasks(name, members, visited)
