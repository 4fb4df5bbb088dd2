"""What an installed lm-eval finds, without the seconds that a full import takes; for `fin doctor`.

Assumed of lm-eval (0.4.12 to 0.4.13):

- `tasks/_index.py` exists (since 0.4.12) and does not need the package `lm_eval.tasks`, whose import takes a
  second.
- `TaskIndex.build` walks each folder with the static method `_iter_yaml_files(folder)`, and skips unreadable
  files. Plain `lm_eval` passes the folder of `_index.py`.
- A duplicate name is logged as "Task '%s' from %s overrides existing task from %s".
- A release that supports entry points of packages has `discover_plugin_task_paths` in `tasks/manager.py`.
"""

import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

INDEX = "lm_eval.tasks._index"
"""The module that the lm-eval hook waits for."""

MARK = "_fin_plugins"
"""The attribute by which the lm-eval hook marks its replacement of `TaskIndex.build`."""


def has_index(package: Path) -> bool:
    """Whether lm-eval's package folder has the task index that the lm-eval hook waits for (since 0.4.12)."""
    return (package / "tasks" / "_index.py").is_file()


def reads_entry_points(package: Path) -> bool:
    """Whether lm-eval finds tasks by entry point, judged from its source text without an import."""
    manager = package / "tasks" / "manager.py"
    return manager.is_file() and "discover_plugin_task_paths" in manager.read_text(encoding="utf-8")


def hook_in_force() -> bool:
    """Whether the lm-eval hook has wrapped the index in this process; False if the index is not imported yet."""
    index = getattr(sys.modules.get(INDEX), "TaskIndex", None)
    return hasattr(getattr(index, "build", None), MARK)


def stub_tasks_package() -> None:
    """Replace the package `lm_eval.tasks`, whose import takes a second, by an empty one; its modules stay real."""
    import lm_eval

    package = ModuleType("lm_eval.tasks")
    package.__path__ = [str(Path(str(lm_eval.__file__)).parent / "tasks")]
    sys.modules[package.__name__] = package


def build_index(folders: Iterable[Path]) -> dict[str, Path | None]:
    """Names defined by the files of these folders, with their files (None for a tag)."""
    from lm_eval.tasks._index import TaskIndex

    return _files(TaskIndex.build(list(folders)))


def full_index() -> dict[str, Path | None]:
    """Names that plain `lm_eval` finds, with their files; takes over 5 s."""
    from lm_eval.tasks import TaskManager

    return _files(TaskManager().task_index)


def external_index() -> dict[str, Path | None]:
    """Names that plain `lm_eval` finds outside of its own folder, with their files."""
    from lm_eval.tasks._index import TaskIndex

    lm_eval_folder, walk = Path(sys.modules[INDEX].__file__ or "").parent, TaskIndex._iter_yaml_files
    TaskIndex._iter_yaml_files = staticmethod(lambda root: () if Path(root) == lm_eval_folder else walk(root))
    return _files(TaskIndex.build([lm_eval_folder]))


def overridden_names() -> list[str]:
    """A list to which every name that lm-eval logs as a duplicate from now on is appended."""
    names: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "overrides existing" in str(record.msg) and isinstance(record.args, tuple):
                names.append(str(record.args[0]))

    logging.getLogger(INDEX).addHandler(Listener())
    return names


def _files(index: dict[str, Any]) -> dict[str, Path | None]:
    return {name: None if entry.yaml_path is None else Path(entry.yaml_path) for name, entry in index.items()}
