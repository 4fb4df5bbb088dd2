"""The tasks that an experiment names, as their files define them: groups taken apart, includes resolved."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fin_plugins.common.errors import FinError
from fin_plugins.common.locations import task_folder
from fin_plugins.compat.lm_eval.tasks import TaskIndex, read_task_file

_YAML = (".yaml", ".yml")


class TaskFiles:
    """Every task and group within reach: the shipped ones, those beside the files named, and lm-eval's if need be."""

    def __init__(self, names: Iterable[str]) -> None:
        """Read the files.

        Args:
            names: tasks and groups, by name or by path.
        """
        listed = list(names)
        self.folders = tuple(dict.fromkeys(str(Path(name).parent) for name in listed if is_path(name)))
        """Folders of files that were named by path; lm-eval has to be told of them."""
        folders = [str(task_folder()), *self.folders]
        self._index = TaskIndex(folders)
        if not {name for name in listed if not is_path(name)} <= set(self._index):
            self._index = TaskIndex(folders, defaults=True)  # thousands of files: seconds

    def knows(self, name: str) -> bool:
        """Whether there is such a task or group; a path counts where its folder was read."""
        return str(Path(name).parent) in self.folders if is_path(name) else name in self._index

    def leaves(self, names: Iterable[str]) -> list[str]:
        """Names of the tasks that names, paths and groups stand for, each once.

        Raises:
            FinError: one of them is not there.
        """
        return list(dict.fromkeys(leaf for name in names for leaf in self._leaves(self._name(name))))

    def definition(self, name: str) -> dict[str, Any]:
        """What a task's file says, with all that it includes; a function is the text of its dotted name.

        Raises:
            FinError: there is no such task.
        """
        return dict(read_task_file(self.file(name)))

    def file(self, name: str) -> Path:
        """The task's file.

        Raises:
            FinError: there is no such task.
        """
        file = self._index.file(name)
        if file is None:
            raise FinError(f"tasks: {name}: no such task; `fin eval ls tasks` lists all names")
        return file

    def twin(self, name: str) -> str | None:
        """The task that generates the answer; None where there is none."""
        twin = f"{name}_gen"
        return twin if twin in self._index else None

    def _name(self, name: str) -> str:
        if not is_path(name):
            return name
        file = Path(name)
        for known in self._index:
            there = self._index.file(known)
            if there and there.name == file.name and there.resolve() == file.resolve():
                return known
        raise FinError(f"tasks: {name}: neither a task nor a group that lm-eval can read; `fin task check {name}`")

    def _leaves(self, name: str) -> Iterable[str]:
        members = self._index.members(name)
        if members is None:
            self.file(name)
            yield name
        else:
            for member in members:
                yield from self._leaves(member)


def is_path(name: str) -> bool:
    """Whether a task is named by its file."""
    return Path(name).suffix in _YAML
