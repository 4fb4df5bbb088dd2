"""The rows of a task file, as its loader or lm-eval would find them. A task and its `_gen` twin share one reading."""

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.checks.model import Function, TaskFile
from fin_plugins.checks.rows.model import SAMPLE, Kind, Reading, Rows, Split
from fin_plugins.common.errors import FinError
from fin_plugins.data import guard

if TYPE_CHECKING:
    import pandas as pd

_SEED = 42
_LOADERS = {"fin_plugins.tasks.rows.load": "shipped", "fin_plugins.tasks.own.load": "own"}


def read(file: TaskFile) -> Reading:
    """A task's rows, or why there are none.

    Raises:
        FinError: `FIN_DATA` is misspelt.
    """
    loader = file.data.get("custom_dataset")
    settings = file.data.get("dataset_kwargs")
    settings = settings if isinstance(settings, dict) else {}
    if isinstance(loader, Function):
        kind = _LOADERS.get(loader)
        if kind is None:
            return Reading(note=f"rows of {file.name} not looked at: they come from {loader}")
        return _shipped_rows(file, settings) if kind == "shipped" else _own_rows(file, settings)
    from fin_plugins.checks.rows.plain import read_plain

    return read_plain(file, settings)


def _shipped_rows(file: TaskFile, settings: dict[str, Any]) -> Reading:
    metadata = file.data.get("metadata")
    card = metadata.get("fin") if isinstance(metadata, dict) else None
    name = card.get("rows") if isinstance(card, dict) else None
    labels, aliases = settings.get("labels"), settings.get("aliases") or {}
    if not isinstance(name, str) or not isinstance(labels, list) or not _are_labels(labels):
        return Reading()  # the rules about keys say what is wrong
    from fin_plugins.data.sources import datasets

    if name.removeprefix("fin_") not in datasets():
        known = ", ".join(datasets())
        return Reading(
            problems=[("D01", ("metadata", "fin", "rows"), f"no data set `{name}` ships; there are {known}")]
        )
    state = (os.environ.get("FIN_DATA"), os.environ.get("FIN_DATA_DIR"), guard.closed())
    return _shipped(name, tuple(labels), _frozen(aliases), state)


@lru_cache(maxsize=4)
def _shipped(name: str, labels: tuple[str, ...], aliases: Any, _state: Any) -> Reading:
    from fin_plugins.data import store
    from fin_plugins.data.rows import chosen_origin, read_rows
    from fin_plugins.data.sources import find

    fetched = chosen_origin() == "sample" or store.current(find(name)) is not None
    try:
        found = read_rows(name)
    except FinError as error:
        if fetched:
            return Reading(problems=[("D01", ("metadata", "fin", "rows"), str(error))])
        return Reading(note=f"rows not looked at: {error}")
    splits = {
        split: made_split(
            [str(row) for row in frame["id"]],
            frame,
            list(frame["label"]),
            [column for column in ("e1", "e2") if column in frame],
            labels,
            dict(aliases),
        )
        for split, frame in found.splits.items()
    }
    kind: Kind = "sample" if found.origin == "sample" else "shipped"
    key = ("dataset_kwargs", "labels")
    telling = frozenset({"label", "gold"})
    return Reading(Rows(kind, splits, {label: label for label in labels}, key, telling=telling))


def _own_rows(file: TaskFile, settings: dict[str, Any]) -> Reading:
    from pydantic import ValidationError

    from fin_plugins.checks.rows.own import read_own
    from fin_plugins.tasks.fields import OwnRows

    try:
        asked = OwnRows.model_validate(settings)
    except ValidationError:
        return Reading()  # the rules about keys say what is wrong
    return read_own(asked, file.path.parent)


def made_split(
    names: list[str],
    frame: "pd.DataFrame",
    values: list[str],
    also: Sequence[str],
    labels: Sequence[str],
    aliases: Mapping[str, Sequence[str]],
) -> Split:
    """A split of a task of ours.

    Args:
        names: what its rows are called.
        frame: rows with `text`, `label` (the word that the model is asked for) and further columns.
        values: the labels as they stand in the data.
        also: further columns that the template may show.
        labels: the words, in order.
        aliases: further spellings.
    """
    from fin_plugins.tasks.documents import documents

    known = frame[frame["label"].isin(list(labels))]
    if len(known) > SAMPLE:
        known = known.sample(SAMPLE, random_state=_SEED)
    made, _ = documents(known, ["text", *also], labels, aliases, "real")
    extra = list(zip(*(frame[name] for name in also), strict=True)) if also else [()] * len(frame)
    return Split(names, values, list(frame["text"]), extra, records(made))


def records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """One dictionary a row."""
    columns = [str(name) for name in frame.columns]
    return [dict(zip(columns, row, strict=True)) for row in zip(*(frame[name] for name in frame.columns), strict=True)]


def _are_labels(labels: list[Any]) -> bool:
    return bool(labels) and all(isinstance(label, str) and label for label in labels)


def _frozen(aliases: Any) -> Any:
    if not isinstance(aliases, dict):
        return ()
    spelled = ((label, others) for label, others in aliases.items() if isinstance(others, list))
    return tuple((label, tuple(map(str, others))) for label, others in spelled)


def stamped(path: Path) -> tuple[str, int, int]:
    """A file's path, with what changes when it is written again."""
    try:
        stat = path.stat()
    except (OSError, ValueError):  # a name with a NUL in it
        return str(path), 0, 0
    return str(path), stat.st_mtime_ns, stat.st_size
