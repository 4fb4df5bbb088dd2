"""The names of what lm-eval and this package ship."""

import re
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from fin_plugins.checks.model import TaskFile
from fin_plugins.checks.read import read_task_file
from fin_plugins.locations import task_folder

_NAME = re.compile(
    rb"""^["']?(?:task|group)["']?[ \t]*:[ \t]*(["']?)([^\s"'#\[{|>&*!][^\n"'#]*?)\1[ \t]*(?:\#.*)?\r?$""",
    re.MULTILINE,
)


def lm_eval_folder() -> Path:
    """The folder of lm-eval's own task files."""
    spec = find_spec("lm_eval")
    assert spec is not None and spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "tasks"


@cache
def lm_eval_names() -> frozenset[str]:
    """Tasks and groups of lm-eval's own files.

    Its index knows them, too, but takes twenty times as long: it parses fourteen thousand files. Each names what it
    defines in a line of its first level, and that is what is looked for.
    """
    files = lm_eval_folder().rglob("*.yaml")
    return frozenset(name.decode("utf-8", "replace") for file in files for _, name in _NAME.findall(file.read_bytes()))


@cache
def lm_eval_index(say: Callable[[str], None]) -> frozenset[str]:
    """All names that lm-eval's index knows, tags too.

    Args:
        say: is told what takes the time.
    """
    say("looking through lm-eval's own tasks for a group's members: 5 to 10 seconds")
    from lm_eval.tasks import TaskManager

    return frozenset(TaskManager().task_index)


@cache
def our_files() -> tuple[TaskFile, ...]:
    """The task and group files of this package."""
    read = (read_task_file(path, str(path)).file for path in sorted(task_folder().rglob("*.yaml")))
    return tuple(file for file in read if file)
