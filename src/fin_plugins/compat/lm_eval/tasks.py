"""lm-eval's index of task files, and the tasks loaded from it.

Assumed of `lm_eval.tasks` (0.4.12 to 0.4.13):

- `TaskManager(include_defaults=, include_path=)` indexes folders, later ones taking precedence. `load`
  looks names up in its mapping `task_index`, so that entries added to it can be loaded.
- `TaskManager.load([name])["tasks"]` maps the names of all tasks below a task, group or tag to task objects. Other
  keys of a group override those of every task below it, at any depth.
- `_index.TaskIndex.build(folders)`, `.entry_from_path(file)` and `.entry_from_config(mapping)` make entries; an entry
  has `name`, `kind`, `yaml_path` (None without a file), `cfg` and `tags` (the tasks of a tag).
- `_yaml_loader.load_yaml(file, resolve_func=False)` returns the content of a file, with includes resolved and
  functions as text.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask


class TaskIndex:
    """Known tasks, groups and tags, by name."""

    def __init__(self, folders: Iterable[Path | str] = (), *, defaults: bool = False) -> None:
        """Index the files.

        Args:
            folders: folders of YAML files; a task in a later folder replaces one of the same name in an earlier folder.
            defaults: also index lm-eval's own files (about fifteen thousand; takes seconds).
        """
        from lm_eval.tasks import TaskManager

        self._manager = TaskManager(include_defaults=defaults, include_path=[str(folder) for folder in folders])

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    @property
    def _entries(self) -> dict[str, Any]:
        entries: dict[str, Any] = self._manager.task_index
        return entries

    def file(self, name: str) -> Path | None:
        """The file that defines a name; None for tags and unknown names."""
        entry = self._entries.get(name)
        return None if entry is None or entry.yaml_path is None else Path(entry.yaml_path)

    def is_task(self, name: str) -> bool:
        """Whether the name is a single YAML task, not a group, tag or Python task."""
        return self._is(name, "TASK")

    def members(self, name: str) -> list[str] | None:
        """The members of a group in its order, or the tasks of a tag, sorted; None for other names."""
        if self._is(name, "GROUP"):
            listed = (self._entries[name].cfg or {}).get("task") or []
            return [str(member["task"] if isinstance(member, dict) else member) for member in listed]
        return sorted(self._entries[name].tags) if self._is(name, "TAG") else None

    def add_file(self, file: Path, name: str | None = None) -> str | None:
        """Add a task file to the index.

        Args:
            file: file of one task.
            name: name in the index; by default the name in the file.

        Returns:
            The name; None if the file defines neither a task nor a group.
        """
        from lm_eval.tasks._index import TaskIndex as Index

        entry = Index.entry_from_path(file)
        if entry is None and name is None:
            return None
        known_by = str(entry.name) if name is None else name
        self._entries[known_by] = entry
        return known_by

    def add_folder(self, folder: Path) -> None:
        """Add the files of a folder to the index; known names are kept."""
        from lm_eval.tasks._index import TaskIndex as Index

        self._entries.update(Index.build([folder]) | dict(self._entries))

    def add_group(self, name: str, members: list[str], **overrides: Any) -> None:
        """Add a group of tasks to the index.

        Args:
            name: name of the group.
            members: names of tasks, groups or tags.
            overrides: keys of a task file that replace those of every task below the group.
        """
        from lm_eval.tasks._index import TaskIndex as Index

        self._entries[name] = Index.entry_from_config({"group": name, "task": members, **overrides})

    def load(self, name: str) -> "dict[str, ConfigurableTask]":
        """Load the tasks that a name stands for, including their rows; by name.

        Raises:
            Exception: any error of lm-eval or of the task's code.
        """
        return dict(self._manager.load([name])["tasks"])

    def _is(self, name: str, kind: str) -> bool:
        from lm_eval.tasks._index import Kind

        entry = self._entries.get(name)
        return entry is not None and entry.kind is Kind[kind]


def all_names() -> list[str]:
    """Every name that plain lm-eval knows, including those added by our hook; takes seconds."""
    from lm_eval.tasks import TaskManager

    return list(TaskManager().all_tasks)


def read_task_file(file: Path | str) -> Mapping[str, Any]:
    """Content of a task file with includes resolved; a function is its dotted name as text.

    Raises:
        Exception: any error of lm-eval while reading the file.
    """
    from lm_eval.tasks._yaml_loader import load_yaml

    return dict(load_yaml(file, resolve_func=False))
