"""What makes a task one that cannot be trained on, found in its file and its rows; nothing that a file names is run.

`fin train`, its `--dry-run` and `fin task check` ask the same; what only lm-eval knows (tasks of its own) is found when
tasks are loaded, in the same words.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fin_plugins.common.errors import FinError
from fin_plugins.common.yaml_file import MAX_BYTES, Problems, parse_yaml
from fin_plugins.common.yaml_nodes import Function

NAME = re.compile(r"^(?:task|group):[ \t]*([\w.-]+)[ \t]*$", re.MULTILINE)
"""The line of a file that names its task or group."""
_OUR_LOADERS = ("fin_plugins.tasks.rows.load", "fin_plugins.tasks.own.load")


def unseen(names: Sequence[str]) -> str:
    """What is said of tasks that are marked unseen, and may not be trained on unless that is allowed."""
    return (
        f"{', '.join(names)}: marked as unseen, to show what training on others does to it; to train on it all the "
        "same: allow_unseen: true (it will stand in the record)"
    )


def no_label(name: str) -> str:
    """What is said of a task that is not multiple choice."""
    twin = name.removesuffix("_gen")
    hint = f": train on {twin}, whose prompt is the same" if twin != name else ""
    return f"{name} is no multiple-choice task, so it has no label to train on{hint}"


def no_train_rows(name: str) -> str:
    """What is said of a task without rows to learn from."""
    return f"{name} has no train rows: leave it out, or name a `training_split` in its file"


def problems(file: Path, allow_unseen: bool, rows: bool) -> Iterator[str]:
    """Why the task of a file, or each task of a group's, cannot be trained on.

    Args:
        file: of a task or a group; one that cannot be read gives nothing, for others say what is wrong with it.
        allow_unseen: as the training file has it.
        rows: look at the data, too.
    """
    for path, task in _leaves(file, set()):
        name = str(task["task"])
        card = _mapping(_mapping(task.get("metadata")).get("fin"))
        if card.get("seen") is False and not allow_unseen:
            yield unseen([name])
        if task.get("output_type") != "multiple_choice":
            yield no_label(name)
        elif not isinstance(task.get("training_split"), str):
            yield no_train_rows(name)
        elif rows:
            yield from _about_rows(name, path, task, card)


def _about_rows(name: str, path: Path, task: dict[str, Any], card: dict[str, Any]) -> Iterator[str]:
    from pydantic import ValidationError

    from fin_plugins.data import guard
    from fin_plugins.data.rows import read_rows
    from fin_plugins.tasks.fields import OwnRows
    from fin_plugins.tasks.own_rows import read

    loader = task.get("custom_dataset")
    try:
        with guard.test_rows_closed():
            if not isinstance(loader, Function) or loader not in _OUR_LOADERS:
                return
            if loader == _OUR_LOADERS[0]:
                found = read_rows(str(card.get("rows"))).splits
            else:
                found = read(OwnRows.model_validate(task.get("dataset_kwargs") or {}), path.parent).frames
    except ValidationError:
        yield f"{name}: its dataset_kwargs are wrong: `fin task check {path}` says how"
        return
    except FinError as error:
        yield str(error) if name in str(error) else f"{name}: {error}"
        return
    split = task["training_split"]
    if split not in found or not len(found[split]):
        yield no_train_rows(name)


def _leaves(file: Path, known: set[Path]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The tasks of a task's or a group's file, each with its own file; `known` files are not read again."""
    known.add(file)
    stated = _stated(file, set())
    if "group" not in stated:
        if isinstance(stated.get("task"), str):
            yield file, stated
        return
    beside = _named_in(file.parent)
    members = stated.get("task")
    for member in members if isinstance(members, list) else [members]:
        name = member.get("task") if isinstance(member, dict) else member
        there = beside.get(name) if isinstance(name, str) else None
        if there is not None and there not in known:
            yield from _leaves(there, known)


def _named_in(folder: Path) -> dict[str, Path]:
    """The tasks and groups that the files of a folder define."""
    files = [file for file in sorted(folder.glob("*.yaml")) if file.is_file() and file.stat().st_size <= MAX_BYTES]
    return {name: file for file in files for name in NAME.findall(file.read_text(encoding="utf-8", errors="replace"))}


def _stated(file: Path, known: set[Path]) -> dict[str, Any]:
    """What a file says, with all that it includes; of a key given twice, the nearest."""
    known.add(file)
    data = _read(file)
    include = data.pop("include", None)
    below: dict[str, Any] = {}
    for one in include if isinstance(include, list) else [include]:
        if isinstance(one, str) and (there := file.parent / one) not in known:
            below |= _stated(there, known)
    return below | data


def _read(file: Path) -> dict[str, Any]:
    try:
        if not file.is_file():
            return {}
        with file.open("rb") as opened:
            return dict(parse_yaml(opened.read(MAX_BYTES + 1), str(file), functions=True).data)
    except (OSError, ValueError, Problems):
        return {}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
