"""Which rows a task has, told by content: a hash and a count for each split. Nothing is shown to a model here."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fin_plugins.common.errors import FinError
from fin_plugins.common.hashing import digest

if TYPE_CHECKING:
    import pandas as pd

_SHIPPED, _OWN = "fin_plugins.tasks.rows.load", "fin_plugins.tasks.own.load"


@dataclass(frozen=True)
class Split:
    """The rows of one split."""

    content: str
    count: int


def splits(definition: Mapping[str, Any], file: Path, data: Literal["real", "sample"]) -> dict[str, Split]:
    """The splits of a task's rows by name; none for a task of others', whose rows count by what its file names.

    Args:
        definition: what the task's file says.
        file: the task's file, which paths are relative to.
        data: `sample` for the embedded rows of the shipped data sets.

    Raises:
        FinError: rows of the user's own cannot be read.
    """
    loader = Path(str(definition.get("custom_dataset"))).name
    if loader == _SHIPPED:
        return _shipped(str(definition["metadata"]["fin"]["rows"]), data)
    return _own(definition, file) if loader == _OWN else {}


def _shipped(name: str, data: str) -> dict[str, Split]:
    """As built; where they are not fetched yet, by what they will be built from, so that there can be a plan."""
    from fin_plugins.data.rows import sample_splits
    from fin_plugins.data.sources import find
    from fin_plugins.data.store import current, expected

    dataset = find(name)
    embedded = _hashed(sample_splits(dataset))
    if data == "sample":
        return embedded
    few_shot = {name: split for name, split in embedded.items() if name == "fewshot"}
    built = current(dataset)
    if built is None:
        pinned = Split(digest(expected(dataset)), 0)
        return {**few_shot, **dict.fromkeys(("train", "validation", "test"), pinned)}
    return {**few_shot, **{name: Split(content, built.rows[name]) for name, content in built.hashes.items()}}


def _own(definition: Mapping[str, Any], file: Path) -> dict[str, Split]:
    from fin_plugins.common.validation import validate
    from fin_plugins.tasks.fields import OWN_ROWS_PLACEHOLDERS, OwnRows
    from fin_plugins.tasks.own_rows import read

    stated = definition.get("dataset_kwargs")
    rows, findings = validate(OwnRows, dict(stated) if isinstance(stated, dict) else {}, OWN_ROWS_PLACEHOLDERS)
    if rows is None:
        said = "; ".join(f"{'.'.join(map(str, key))}: {message}" for key, message in findings)
        raise FinError(f"{file}: dataset_kwargs: {said}")
    try:
        return _hashed(read(rows, file.parent).frames)
    except FinError as error:
        raise FinError(f"{file}: {error}") from error


def _hashed(frames: "Mapping[str, pd.DataFrame]") -> dict[str, Split]:
    from fin_plugins.data.store import content_hash

    return {name: Split(content_hash(frame), len(frame)) for name, frame in frames.items()}
