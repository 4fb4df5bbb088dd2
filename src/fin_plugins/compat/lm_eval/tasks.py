"""lm-eval's index of task files, and the tasks that it makes of them.

Assumed of `lm_eval.tasks` (0.4.12 to 0.4.13):

- `TaskManager(include_defaults=, include_path=)` indexes folders, later ones first in rank; its `task_index` is the
  very mapping of names to entries that `load` looks names up in, so that what is added to it can be loaded.
- `TaskManager.load([name])["tasks"]` maps the names of all tasks below a task, group or tag to task objects. A group's
  further keys override those of every task below it, however deep.
- `_index.TaskIndex.build(folders)`, `.entry_from_path(file)` and `.entry_from_config(mapping)` make entries; an entry
  has `name`, `kind`, `yaml_path` (None where no file is behind it), `cfg` and `tags` (of a tag: its tasks).
- `_yaml_loader.load_yaml(file, resolve_func=False)` gives what a file says, includes resolved, functions as text.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask


class TaskIndex:
    """The tasks, groups and tags within reach, by name."""

    def __init__(self, folders: Iterable[Path | str] = (), *, defaults: bool = False) -> None:
        """Read the files.

        Args:
            folders: whose YAML files to read; a later folder's tasks replace an earlier one's of the same name.
            defaults: read lm-eval's own files too, which are some fifteen thousand and take seconds.
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
        """The file that defines a name; None where there is none, as for a tag or an unknown name."""
        entry = self._entries.get(name)
        return None if entry is None or entry.yaml_path is None else Path(entry.yaml_path)

    def is_task(self, name: str) -> bool:
        """Whether the name is that of one task in YAML: no group, no tag, no task in Python."""
        return self._is(name, "TASK")

    def members(self, name: str) -> list[str] | None:
        """The names that a group lists, in its order, or a tag's tasks, sorted; None for all others."""
        if self._is(name, "GROUP"):
            listed = (self._entries[name].cfg or {}).get("task") or []
            return [str(member["task"] if isinstance(member, dict) else member) for member in listed]
        return sorted(self._entries[name].tags) if self._is(name, "TAG") else None

    def add_file(self, file: Path, name: str | None = None) -> str | None:
        """Make a task file known.

        Args:
            file: the file of one task.
            name: what to know it by; its own name by default.

        Returns:
            The name; None where the file is neither a task nor a group.
        """
        from lm_eval.tasks._index import TaskIndex as Index

        entry = Index.entry_from_path(file)
        if entry is None and name is None:
            return None
        known_by = str(entry.name) if name is None else name
        self._entries[known_by] = entry
        return known_by

    def add_folder(self, folder: Path) -> None:
        """Make the files of a folder known; names that are known already stay what they are."""
        from lm_eval.tasks._index import TaskIndex as Index

        self._entries.update(Index.build([folder]) | dict(self._entries))

    def add_group(self, name: str, members: list[str], **overrides: Any) -> None:
        """Make a group of tasks known.

        Args:
            name: the group's.
            members: names of tasks, groups or tags.
            overrides: keys of a task file that replace those of every task below the group.
        """
        from lm_eval.tasks._index import TaskIndex as Index

        self._entries[name] = Index.entry_from_config({"group": name, "task": members, **overrides})

    def load(self, name: str) -> "dict[str, ConfigurableTask]":
        """The tasks that a name stands for, their rows loaded, by name.

        Raises:
            Exception: whatever lm-eval, or a task's own code, raises.
        """
        return dict(self._manager.load([name])["tasks"])

    def _is(self, name: str, kind: str) -> bool:
        from lm_eval.tasks._index import Kind

        entry = self._entries.get(name)
        return entry is not None and entry.kind is Kind[kind]


def all_names() -> list[str]:
    """Every name that lm-eval itself knows, and the start-up file added; reading them takes seconds."""
    from lm_eval.tasks import TaskManager

    return list(TaskManager().all_tasks)


def read_task_file(file: Path | str) -> Mapping[str, Any]:
    """What a task file says, with all that it includes; a function is the text of its dotted name.

    Raises:
        Exception: whatever lm-eval raises for a file that it cannot read.
    """
    from lm_eval.tasks._yaml_loader import load_yaml

    return dict(load_yaml(file, resolve_func=False))
