"""Finds fin tasks: those that ship, those of given folders, and the YAML files of the working folder."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from fin_plugins.checks.model import TaskFile
from fin_plugins.checks.read import read_task_file, real_path
from fin_plugins.common.bundled import FOR_EDITORS
from fin_plugins.common.errors import FinError
from fin_plugins.common.foreign_files import read_text
from fin_plugins.common.locations import task_folder
from fin_plugins.common.validation import did_you_mean

_YAML = (".yaml", ".yml")
_PROTOCOLS = {"multiple_choice": "choice", "generate_until": "gen"}


@dataclass(frozen=True)
class Found:
    """One task file.

    Attributes:
        file: what it says, includes applied.
        groups: the groups and tags that the task belongs to.
    """

    file: TaskFile
    groups: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The task's name."""
        return str(self.file.data["task"])

    @property
    def protocol(self) -> str:
        """`choice` (label likelihood), `gen` (free answer), or lm-eval's name of another kind of output."""
        kind = str(self.file.data.get("output_type", "generate_until"))
        return _PROTOCOLS.get(kind, kind)

    @property
    def fin(self) -> dict[str, Any]:
        """What stands under `metadata.fin`; empty where nothing does."""
        metadata = self.file.data.get("metadata")
        fin = metadata.get("fin") if isinstance(metadata, dict) else None
        return fin if isinstance(fin, dict) else {}

    @property
    def about(self) -> str:
        """The comment at the file's head, less what it says to editors."""
        lines = read_text(self.file.path).splitlines()
        said = []
        for line in lines:
            if not line.startswith("#"):
                break
            said += [] if line.startswith(FOR_EDITORS) else [line.lstrip("# ")]
        return " ".join(said).strip()


@dataclass
class Search:
    """What was found.

    Attributes:
        tasks: by name, in the order of the folders; of two tasks with one name the later one, as with lm-eval.
        problems: one line for each file that could not be read.
    """

    tasks: dict[str, Found] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def search(folders: Sequence[Path]) -> Search:
    """Read the shipped tasks, those below the folders, and those that lie in the working folder itself.

    Raises:
        FinError: there is no such folder.
    """
    missing = next((folder for folder in folders if not folder.is_dir()), None)
    if missing is not None:
        raise FinError(f"--include_path {missing}: no such folder")
    below = [file for folder in (task_folder(), *folders) for file in sorted(folder.rglob("*.yaml"))]
    here = sorted(Path().glob("*.yaml"))
    last = {real_path(file): file for file in reversed([*below, *here]) if not file.is_dir()}
    return _read(list(reversed(last.values())))


def find(name_or_path: str, folders: Sequence[Path]) -> Found:
    """The task that is meant: a file at this path, or else the task of this name.

    Raises:
        FinError: there is neither, or it is no task.
    """
    known = search(folders)
    if name_or_path in known.tasks:
        return known.tasks[name_or_path]
    if Path(name_or_path).suffix in _YAML:
        found = task_at(Path(name_or_path))
        same = known.tasks.get(found.name)
        return same if same and real_path(same.file.path) == real_path(found.file.path) else found
    near = did_you_mean(name_or_path, known.tasks)
    raise FinError(f"{name_or_path}: no such task{near}; `fin task list` lists them, --include_path adds a folder")


@cache
def shipped() -> Search:
    """The shipped tasks alone."""
    return _read(sorted(task_folder().rglob("*.yaml")))


def task_at(path: Path) -> Found:
    """The task of a file.

    Raises:
        FinError: there is no such file, it cannot be read, or it is no task.
    """
    if not os.path.lexists(path):
        raise FinError(f"{path}: no such file")
    file, findings = read_task_file(path, str(path))
    if file is None:
        raise FinError(f"{findings[0]}; `fin task check {path}` lists every problem")
    if not _is_task(file):
        raise FinError(f"{path}: no task (`task: name`) but a {file.kind} file")
    return Found(file, tuple(_tags(file)))


def _read(paths: Iterable[Path]) -> Search:
    found, files = Search(), list[TaskFile]()
    for path in paths:
        file, findings = read_task_file(path, str(path))
        if file is not None:
            files.append(file)
        elif findings and findings[0].code.startswith("Y"):
            found.problems.append(f"{findings[0]}; `fin task check {path}` lists every problem")
    groups = {str(file.data["group"]): _members(file) for file in files if file.kind == "group"}
    for file in files:
        if _is_task(file) and file.ours:
            name = file.data["task"]
            belongs = [group for group in groups if name in _leaves(group, groups)]
            found.tasks[name] = Found(file, (*belongs, *_tags(file)))
    return found


def _is_task(file: TaskFile) -> bool:
    return file.kind == "task" and isinstance(file.data.get("task"), str)


def _tags(file: TaskFile) -> list[str]:
    tags = file.data.get("tag")
    return [tags] if isinstance(tags, str) else [str(tag) for tag in tags] if isinstance(tags, list) else []


def _members(file: TaskFile) -> list[str]:
    listed = file.data.get("task")
    items = listed if isinstance(listed, list) else [listed]
    named = (item.get("task", item.get("group")) if isinstance(item, dict) else item for item in items)
    return [name for name in named if isinstance(name, str)]


def _leaves(group: str, groups: dict[str, list[str]]) -> set[str]:
    """The tasks of a group and of the groups in it; a group that holds itself ends there."""
    return set(_walk(group, groups, set()))


def _walk(group: str, groups: dict[str, list[str]], seen: set[str]) -> Iterator[str]:
    seen.add(group)
    for name in groups[group]:
        if name not in groups:
            yield name
        elif name not in seen:
            yield from _walk(name, groups, seen)
