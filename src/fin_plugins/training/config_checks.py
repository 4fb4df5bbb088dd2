"""Checks of what a training file names: that it exists, and that its tasks can be trained on.

No code named in a file is run, so tasks of lm-eval itself are only checked by name here; `training_tasks` checks the
rest, with the same messages, when it loads them.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from fin_plugins.common.bundled import is_file, is_folder
from fin_plugins.common.errors import FinError
from fin_plugins.common.foreign_files import get_in
from fin_plugins.common.locations import task_folder
from fin_plugins.common.validation import Finding, did_you_mean
from fin_plugins.common.yaml_file import MAX_BYTES, Problems, parse_yaml
from fin_plugins.common.yaml_nodes import Function, Key
from fin_plugins.compat.lm_eval.tasks import all_names

Depth = Literal["names", "tasks", "rows"]
"""What to check: that names exist; also that tasks can be trained on; also their rows."""

_YAML_SUFFIXES = (".yaml", ".yml")
_JSON_SUFFIXES = (".json", ".jsonl")
_TASK_NAME = re.compile(r"^(?:task|group):[ \t]*([\w.-]+)[ \t]*$", re.MULTILINE)
_BUNDLED_LOADER, _CUSTOM_LOADER = "fin_plugins.tasks.rows.load", "fin_plugins.tasks.own.load"


def check_names(data: dict[str, Any]) -> list[Finding]:
    """Everything that the data names but that does not exist. Loads no model, and lm-eval only for its own tasks.

    Args:
        data: content of a training file, of any form; other checks report a wrong form.
    """
    findings: list[Finding] = []
    for key, name in _task_names(data):
        findings += [(key, message) for message in _check_task(name)]
    seen: set[str] = set()
    for key, name in _task_names(data):
        findings += [(key, "given twice: `repeat` uses its rows more than once")] if name in seen else []
        seen.add(name)
    for key, check in _VALUE_CHECKS.items():
        value = get_in(data, *key)
        findings += [(key, message) for message in check(value)] if isinstance(value, str) and value else []
    if isinstance(data.get("replay"), str):
        findings += [(("replay",), message) for message in _check_replay(data["replay"])]
    return findings


def check_tasks(data: dict[str, Any], depth: Depth) -> list[Finding]:
    """Why tasks of a training file cannot be trained on, judging by their files and rows.

    Args:
        data: content of a training file, of any form.
        depth: `tasks` or `rows`; `names` finds nothing.
    """
    if depth == "names":
        return []
    allow_unseen = data.get("allow_unseen") is True
    return [
        (key, message)
        for key, name in _task_names(data)
        if (file := task_file(name)) is not None
        for message in _check_task_file(file, allow_unseen, depth == "rows")
    ]


@cache
def our_tasks() -> dict[str, Path]:
    """The bundled tasks and groups with their files, found without lm-eval, which takes seconds to import."""
    files = task_folder().rglob("*.yaml")
    return {name: file for file in files for name in _TASK_NAME.findall(file.read_text(encoding="utf-8"))}


@cache
def all_task_names() -> frozenset[str]:
    """The names of all tasks that lm-eval knows; reading them takes seconds."""
    return frozenset(all_names())


def task_file(name: str) -> Path | None:
    """The file of a bundled task or of one named by its path; None for lm-eval's own tasks and unknown names."""
    if is_file(name) and _is_path(name, _YAML_SUFFIXES):
        return Path(name)
    return our_tasks().get(name)


def unseen_message(names: Sequence[str]) -> str:
    """The error for tasks that are marked as unseen."""
    return (
        f"{', '.join(names)}: marked as unseen, to measure the effect of training on other tasks; to train on it "
        "anyway, set allow_unseen: true (the record of the run will say so)"
    )


def no_label_message(name: str) -> str:
    """The error for a task that is not multiple choice."""
    choice_variant = name.removesuffix("_gen")
    hint = f": train on {choice_variant}, whose prompt is the same" if choice_variant != name else ""
    return f"{name} is not a multiple-choice task, so it has no label to train on{hint}"


def no_rows_message(name: str) -> str:
    """The error for a task without train rows."""
    return f"{name} has no train rows: remove it, or name a `training_split` in its file"


def _task_names(data: dict[str, Any]) -> Iterator[tuple[Key, str]]:
    tasks = data.get("tasks")
    for index, item in enumerate(tasks if isinstance(tasks, list) else []):
        if isinstance(item, str) and item:
            yield ("tasks", index), item
        elif isinstance(item, dict) and isinstance(item.get("task"), str) and item["task"]:
            yield ("tasks", index, "task"), item["task"]


def _check_task(name: str) -> Iterator[str]:
    if name in our_tasks() or (_is_path(name, _YAML_SUFFIXES) and is_file(name)):
        return
    if _is_path(name, _YAML_SUFFIXES):
        yield f"{name}: no such task file"
    # The prefix is ours, so a mistyped name with it need not wait for lm-eval.
    elif name.startswith("fin_") or name not in all_task_names():
        hint = did_you_mean(name, our_tasks())
        if not hint and not name.startswith("fin_"):
            hint = did_you_mean(name, all_task_names())
        yield f"{name}: no such task{hint or '; `fin eval ls tasks` lists all names'}"


def _check_replay(source: str) -> Iterator[str]:
    if source == "self":
        return
    if is_file(source):
        if not source.endswith(_JSON_SUFFIXES):
            yield f"{source}: should end in {' or '.join(_JSON_SUFFIXES)}"
    elif _is_path(source, _JSON_SUFFIXES):
        yield f"{source}: no such file"
    elif "/" not in source and (hint := did_you_mean(source, ["self"])):
        yield f"{source}: no such file{hint}"


def _check_instructions(path: str) -> Iterator[str]:
    if not is_file(path):
        yield f"{path}: no such file"


def _check_model(name: str) -> Iterator[str]:
    if is_file(name):
        yield f"{name}: a file; a model is a folder or a hub name"
    elif _is_path(name, ()) and not is_folder(name):
        yield f"{name}: no such folder"


def _check_output(path: str) -> Iterator[str]:
    for part in (Path(path), *Path(path).parents):
        if is_file(str(part)):
            yield f"{part} is a file: name a folder"


def _is_path(text: str, suffixes: tuple[str, ...]) -> bool:
    """Whether the text is a path rather than a name; hub names have one slash at most."""
    return text.startswith((".", "/", "~")) or text.count("/") > 1 or text.endswith(suffixes)


_VALUE_CHECKS: dict[Key, Callable[[str], Iterator[str]]] = {
    ("model",): _check_model,
    ("replay", "source"): _check_replay,
    ("replay", "instructions"): _check_instructions,
    ("output",): _check_output,
}


def _check_task_file(file: Path, allow_unseen: bool, check_rows: bool) -> Iterator[str]:
    """Why the tasks of a task or group file cannot be trained on; an unreadable file gives nothing."""
    for path, task in _leaf_tasks(file, set()):
        name = str(task["task"])
        fin_metadata = _as_mapping(_as_mapping(task.get("metadata")).get("fin"))
        if fin_metadata.get("seen") is False and not allow_unseen:
            yield unseen_message([name])
        if task.get("output_type") != "multiple_choice":
            yield no_label_message(name)
        elif not isinstance(task.get("training_split"), str):
            yield no_rows_message(name)
        elif check_rows:
            yield from _check_rows(name, path, task, str(fin_metadata.get("rows")))


def _check_rows(name: str, path: Path, task: dict[str, Any], dataset: str) -> Iterator[str]:
    from pydantic import ValidationError

    from fin_plugins.data import split_guard
    from fin_plugins.data.dataset_rows import read_rows
    from fin_plugins.tasks.custom_rows import read_custom_rows
    from fin_plugins.tasks.task_config import CustomDatasetConfig

    loader = task.get("custom_dataset")
    if not isinstance(loader, Function) or loader not in (_BUNDLED_LOADER, _CUSTOM_LOADER):
        return
    try:
        with split_guard.block_test_split():
            if loader == _BUNDLED_LOADER:
                splits = read_rows(dataset).splits
            else:
                splits = read_custom_rows(
                    CustomDatasetConfig.model_validate(task.get("dataset_kwargs") or {}), path.parent
                ).frames
    except ValidationError:
        yield f"{name}: its dataset_kwargs are invalid: run `fin task check {path}`"
        return
    except FinError as error:
        yield str(error) if name in str(error) else f"{name}: {error}"
        return
    split = task["training_split"]
    if split not in splits or not len(splits[split]):
        yield no_rows_message(name)


def _leaf_tasks(file: Path, visited: set[Path]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The tasks of a task or group file, each with its own file; `visited` files are skipped."""
    visited.add(file)
    content = _read_with_includes(file, set())
    if "group" not in content:
        if isinstance(content.get("task"), str):
            yield file, content
        return
    siblings = _tasks_in_folder(file.parent)
    members = content.get("task")
    for member in members if isinstance(members, list) else [members]:
        name = member.get("task") if isinstance(member, dict) else member
        member_file = siblings.get(name) if isinstance(name, str) else None
        if member_file is not None and member_file not in visited:
            yield from _leaf_tasks(member_file, visited)


def _tasks_in_folder(folder: Path) -> dict[str, Path]:
    """The tasks and groups that the files of a folder define, with their files."""
    files = [file for file in sorted(folder.glob("*.yaml")) if file.is_file() and file.stat().st_size <= MAX_BYTES]
    return {
        name: file for file in files for name in _TASK_NAME.findall(file.read_text(encoding="utf-8", errors="replace"))
    }


def _read_with_includes(file: Path, visited: set[Path]) -> dict[str, Any]:
    """Content of a file and its includes; the file's own keys win."""
    visited.add(file)
    data = _read_yaml(file)
    includes = data.pop("include", None)
    inherited: dict[str, Any] = {}
    for name in includes if isinstance(includes, list) else [includes]:
        if isinstance(name, str) and (included := file.parent / name) not in visited:
            inherited |= _read_with_includes(included, visited)
    return inherited | data


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        if not file.is_file():
            return {}
        with file.open("rb") as stream:
            return dict(parse_yaml(stream.read(MAX_BYTES + 1), str(file), functions=True).data)
    except (OSError, ValueError, Problems):
        return {}


def _as_mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
