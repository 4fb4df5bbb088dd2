"""What a training file may get wrong beyond its form: names of tasks, and files that are not there."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

from fin_plugins.common.bundled import is_file, is_folder
from fin_plugins.common.foreign_files import get_in
from fin_plugins.common.locations import task_folder
from fin_plugins.common.validation import Finding, did_you_mean
from fin_plugins.common.yaml_nodes import Key
from fin_plugins.compat.lm_eval.tasks import all_names
from fin_plugins.training.files import task_rules

_YAML = (".yaml", ".yml")
_ROWS = (".json", ".jsonl")


Depth = Literal["names", "tasks", "rows"]
"""How far to look: whether what is named is there; whether its tasks can be trained on; and at their rows."""


def check_tasks(data: dict[str, Any], depth: Depth) -> list[Finding]:
    """Why tasks that the data names cannot be trained on, as far as it can be known without running anything.

    Args:
        data: of a training file, of any form.
        depth: `tasks` or `rows`; `names` finds nothing.
    """
    if depth == "names":
        return []
    allowed = data.get("allow_unseen") is True
    return [
        (key, message)
        for key, name in _tasks(data)
        if (file := task_file(name)) is not None
        for message in task_rules.problems(file, allowed, depth == "rows")
    ]


def task_file(name: str) -> Path | None:
    """The file of a task of ours, or of one named by its path; None for lm-eval's own, and where there is none."""
    if is_file(name) and _is_path(name, _YAML):
        return Path(name)
    return our_tasks().get(name)


def check_names(data: dict[str, Any]) -> list[Finding]:
    """Everything that the data names and that is not there; no model is loaded, and lm-eval for foreign tasks only.

    The data may have any form: what is not of the form it should be is left to others to report.
    """
    found: list[Finding] = []
    for key, value in _tasks(data):
        found += [(key, message) for message in _task(value)]
    seen: set[str] = set()
    for key, value in _tasks(data):
        found += [(key, "given twice: `repeat` takes its rows more than once")] if value in seen else []
        seen.add(value)
    for key, look in _LOOKS.items():
        value = get_in(data, *key)
        found += [(key, message) for message in look(value)] if isinstance(value, str) and value else []
    if isinstance(data.get("replay"), str):
        found += [(("replay",), message) for message in _replay(data["replay"])]
    return found


@cache
def our_tasks() -> dict[str, Path]:
    """The tasks and groups of the task folder with their files, read without lm-eval, which takes seconds to import."""
    files = task_folder().rglob("*.yaml")
    return {name: file for file in files for name in task_rules.NAME.findall(file.read_text(encoding="utf-8"))}


@cache
def _all_tasks() -> frozenset[str]:
    return frozenset(all_names())


def _tasks(data: dict[str, Any]) -> Iterator[tuple[Key, str]]:
    listed = data.get("tasks")
    for number, item in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(item, str) and item:
            yield ("tasks", number), item
        elif isinstance(item, dict) and isinstance(item.get("task"), str) and item["task"]:
            yield ("tasks", number, "task"), item["task"]


def _task(name: str) -> Iterator[str]:
    if name in our_tasks() or (_is_path(name, _YAML) and is_file(name)):
        return
    if _is_path(name, _YAML):
        yield f"{name}: no such task file"
    # The prefix is ours: whoever mistypes such a name is not made to wait for lm-eval.
    elif name.startswith("fin_") or name not in _all_tasks():
        near = did_you_mean(name, our_tasks()) or ("" if name.startswith("fin_") else did_you_mean(name, _all_tasks()))
        yield f"{name}: no such task{near or '; `fin eval ls tasks` lists all names'}"


def _replay(source: str) -> Iterator[str]:
    if source == "self":
        return
    if is_file(source):
        if not source.endswith(_ROWS):
            yield f"{source}: should end in {' or '.join(_ROWS)}"
    elif _is_path(source, _ROWS):
        yield f"{source}: no such file"
    elif "/" not in source and did_you_mean(source, ["self"]):
        yield f"{source}: no such file{did_you_mean(source, ['self'])}"


def _instructions(path: str) -> Iterator[str]:
    if not is_file(path):
        yield f"{path}: no such file"


def _model(name: str) -> Iterator[str]:
    if is_file(name):
        yield f"{name}: a file; a model is a folder or a hub name"
    elif _is_path(name, ()) and not is_folder(name):
        yield f"{name}: no such folder"


def _output(path: str) -> Iterator[str]:
    for part in (Path(path), *Path(path).parents):
        if is_file(str(part)):
            yield f"{part} is a file: name a folder"


def _is_path(text: str, endings: tuple[str, ...]) -> bool:
    """Whether the text is meant as a path rather than a name: hub names have one slash at most."""
    return text.startswith((".", "/", "~")) or text.count("/") > 1 or text.endswith(endings)


_LOOKS: dict[Key, Callable[[str], Iterator[str]]] = {
    ("model",): _model,
    ("replay", "source"): _replay,
    ("replay", "instructions"): _instructions,
    ("output",): _output,
}
