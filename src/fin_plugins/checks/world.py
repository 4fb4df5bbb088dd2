"""The files that are checked together, and what they may name besides: what this package and lm-eval ship."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fin_plugins.checks import shipped
from fin_plugins.checks.model import TaskFile
from fin_plugins.checks.read import read_task_file, real_path
from fin_plugins.common.foreign_files import read_bytes
from fin_plugins.common.locations import task_folder


@dataclass(frozen=True)
class World:
    """What a name may stand for.

    Attributes:
        checked: the files that are checked.
    """

    checked: tuple[TaskFile, ...]

    @cached_property
    def _by_name(self) -> dict[str, TaskFile]:
        """Of two files with one name the first; checked ones come before shipped ones."""
        files = [*self.checked, *shipped.our_files()]
        return {name: file for file in reversed(files) if (name := name_of(file))}

    def file(self, name: str) -> TaskFile | None:
        """The task or group of that name, checked, or of this package."""
        return self._by_name.get(name)

    def tagged(self, tag: str) -> list[TaskFile]:
        """Tasks that carry a tag."""
        return [file for file in self._by_name.values() if tag in _tags(file)]

    def is_known(self, name: str) -> bool:
        """Whether lm-eval would find a task, group or tag."""
        ours = self.file(name) or self.tagged(name)
        return bool(ours) or name in shipped.lm_eval_names() or name in shipped.lm_eval_tags()

    def names(self) -> list[str]:
        """What may be meant by a name that is nearly right."""
        return [*self._by_name, *shipped.lm_eval_names()]


def name_of(file: TaskFile) -> str | None:
    """What lm-eval calls a task or group; None for a training file."""
    name = file.data.get("group" if file.kind == "group" else "task")
    return name if file.kind != "training" and isinstance(name, str) else None


def is_shipped(file: TaskFile) -> bool:
    """Whether the file is one of this package's or of lm-eval's, or a copy of one to the byte."""
    folders = (task_folder().resolve(), shipped.lm_eval_folder().resolve())
    path = real_path(file.path)
    if any(folder in path.parents for folder in folders):
        return True
    same = next((ours for ours in shipped.our_files() if name_of(ours) == name_of(file)), None)
    return same is not None and read_bytes(same.path) == read_bytes(path)


def included_names(file: TaskFile) -> set[str]:
    """The tasks that a task includes."""
    read = (read_task_file(path, str(path)).file for path in file.stated)
    return {name for below in read if below and (name := name_of(below))}


def _tags(file: TaskFile) -> list[Any]:
    tags = file.data.get("tag")
    return tags if isinstance(tags, list) else [tags]
