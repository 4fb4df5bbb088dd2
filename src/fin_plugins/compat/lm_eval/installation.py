"""What an installed lm-eval finds, asked without the seconds that importing all of it takes; for `fin doctor`.

Assumed of lm-eval (0.4.12 to 0.4.13):

- `tasks/_index.py` exists (since 0.4.12) and needs nothing of the package `lm_eval.tasks`, whose own code takes a
  second.
- `TaskIndex.build` walks each folder with the static method `_iter_yaml_files(folder)`, and passes over what it cannot
  read. Plain `lm_eval` has it walk the folder that `_index.py` lies in.
- A name that is defined twice is logged as "Task '%s' from %s overrides existing task from %s".
- A release that reads packages' entry points has `discover_plugin_task_paths` in `tasks/manager.py`.
"""

import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

INDEX = "lm_eval.tasks._index"
"""The module that the start-up file waits for."""

MARK = "_fin_plugins"
"""The attribute that the start-up file gives to the `TaskIndex.build` it puts in place."""


def has_index(package: Path) -> bool:
    """Whether a folder of lm-eval's code has the task index that the start-up file waits for (since 0.4.12)."""
    return (package / "tasks" / "_index.py").is_file()


def reads_entry_points(package: Path) -> bool:
    """Whether a folder of lm-eval's code finds tasks by entry point; told from its text, nothing is imported."""
    manager = package / "tasks" / "manager.py"
    return manager.is_file() and "discover_plugin_task_paths" in manager.read_text(encoding="utf-8")


def hook_in_force() -> bool:
    """Whether the start-up file has wrapped the index of this process; False where it has not been imported yet."""
    index = getattr(sys.modules.get(INDEX), "TaskIndex", None)
    return hasattr(getattr(index, "build", None), MARK)


def leave_out_package_code() -> None:
    """Put an empty package in place of `lm_eval.tasks`, whose own code imports for a second; its modules stay real."""
    import lm_eval

    package = ModuleType("lm_eval.tasks")
    package.__path__ = [str(Path(str(lm_eval.__file__)).parent / "tasks")]
    sys.modules[package.__name__] = package


def build_index(folders: Iterable[Path]) -> dict[str, Path | None]:
    """The names that the files of these folders define, each with its file; a tag has none."""
    from lm_eval.tasks._index import TaskIndex

    return _files(TaskIndex.build(list(folders)))


def whole_index() -> dict[str, Path | None]:
    """The same of all that plain `lm_eval` finds; it takes 5 s and more."""
    from lm_eval.tasks import TaskManager

    return _files(TaskManager().task_index)


def index_without_own_files() -> dict[str, Path | None]:
    """The same of all that plain `lm_eval` finds, its own folder taken to be empty."""
    from lm_eval.tasks._index import TaskIndex

    own, walk = Path(sys.modules[INDEX].__file__ or "").parent, TaskIndex._iter_yaml_files
    TaskIndex._iter_yaml_files = staticmethod(lambda root: () if Path(root) == own else walk(root))
    return _files(TaskIndex.build([own]))


def overridden_names() -> list[str]:
    """A list that fills, from now on, with the names that lm-eval logs as defined twice."""
    names: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "overrides existing" in str(record.msg) and isinstance(record.args, tuple):
                names.append(str(record.args[0]))

    logging.getLogger(INDEX).addHandler(Listener())
    return names


def _files(index: dict[str, Any]) -> dict[str, Path | None]:
    return {name: None if entry.yaml_path is None else Path(entry.yaml_path) for name, entry in index.items()}
