"""What a task may be called."""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import yaml

from fin_plugins.common.errors import FinError
from fin_plugins.common.locations import task_folder

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
_TWIN = "_gen"


def twin_of(name: str) -> str:
    """The name of the task that asks the same and lets the model write its answer."""
    return name + _TWIN


def check_name(name: str) -> None:
    """Look whether a task and its twin may be called so.

    Raises:
        FinError: the name has other characters than it may, or is taken.
    """
    if not _NAME.fullmatch(name):
        raise FinError(f"{name!r} is no name for a task: letters, digits and underscores, beginning with a letter")
    if name.endswith(_TWIN):
        raise FinError(f"{name}: `{_TWIN}` is what the twin's name ends in: leave it out, both files are written")
    for one in (name, twin_of(name)):
        if (file := taken_by(one)) is not None:
            raise FinError(f"{name}: {one} is a task, group or tag already, in {file}: choose another name")


def taken_by(name: str) -> Path | None:
    """The file of this package's or lm-eval's that has a task, group or tag of this name; None where it is free.

    Only files with the name in them are read as YAML, which takes a second; lm-eval's own index takes five.
    """
    for file in _task_files():
        content = file.read_bytes()
        if name.encode() in content and name in _names(content):
            return file
    return None


def _task_files() -> Iterator[Path]:
    yield from sorted(task_folder().rglob("*.yaml"))
    spec = find_spec("lm_eval")  # the package is not imported: that takes seconds
    for folder in (spec.submodule_search_locations or []) if spec else []:
        yield from (Path(folder) / "tasks").rglob("*.yaml")


def _names(content: bytes) -> set[str]:
    try:
        data = yaml.load(content, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError:
        return set()
    if not isinstance(data, dict):
        return set()
    tags = data.get("tag")
    listed = [data.get("task"), data.get("group"), *(tags if isinstance(tags, list) else [tags])]
    return {one for one in listed if isinstance(one, str)}


class _Loader(yaml.SafeLoader):
    """Safe, with `!function` kept as text."""


_Loader.add_constructor("!function", lambda loader, node: str(node.value))
