"""The labelled rows of a new task: reading files or a hub data set, guessing the columns, counting the labels."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.common.errors import FinError
from fin_plugins.common.validation import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

_HUB_PREFIX = "hf:"
# The most likely name first.
_TEXT_NAMES = ("text", "sentence", "headline", "title", "body", "content", "message", "review", "tweet", "document")
_LABEL_NAMES = (
    *("label", "labels", "class", "category", "sentiment", "stance", "target", "topic", "intent", "tag", "y"),
)
_SPLIT_NAMES = ("split", "set", "subset", "fold", "partition")
_MAX_LABELS = 500
_TYPICAL_LABELS = 50
_MAX_LISTED = 5


@dataclass(frozen=True)
class DataSource:
    """Rows as named by `--data`.

    Attributes:
        frames: the tables by name of their split; a single file is `all`.
        yaml_keys: the keys under `dataset_kwargs` that name the same rows.
        description: the file names or the hub data set.
    """

    frames: "dict[str, pd.DataFrame]"
    yaml_keys: dict[str, Any]
    description: str

    @property
    def has_splits(self) -> bool:
        """Whether the data come in splits: in a file each, or with a test split."""
        from fin_plugins.tasks.custom_rows import SPLIT_ALIASES

        return "files" in self.yaml_keys or any(SPLIT_ALIASES.get(name.lower()) == "test" for name in self.frames)


@dataclass(frozen=True)
class ColumnGuess:
    """The likely columns; None if no column stands out."""

    text: str | None
    label: str | None
    split: str | None


def read_source(data: Sequence[str], folder: Path, sheet: str | None = None, encoding: str | None = None) -> DataSource:
    """Read the rows that `--data` names.

    Args:
        data: one file, several as `train=FILE`, or `hf:OWNER/NAME`, `hf:OWNER/NAME:CONFIG@REVISION`, `hf:./FOLDER`.
        folder: future folder of the YAML file, to which the keys are relative.
        sheet: sheet of a workbook.
        encoding: encoding of a text file.

    Raises:
        FinError: the rows cannot be read, or have no path relative to the YAML file.
    """
    options = {key: value for key, value in (("sheet", sheet), ("encoding", encoding)) if value is not None}
    if len(data) == 1 and data[0].startswith(_HUB_PREFIX):
        if options:
            raise FinError(f"--{next(iter(options))}: is for files, not for hub data sets")
        return _read_hub(data[0].removeprefix(_HUB_PREFIX), folder)
    from fin_plugins.data.tables import read_table

    paths = {split: Path(path) for split, path in _files_by_split(data).items()}
    frames = {split: read_table(path, sheet, encoding) for split, path in paths.items()}
    relative = {split: relative_path(path, folder) for split, path in paths.items()}
    keys: dict[str, Any] = {"file": relative["all"]} if list(relative) == ["all"] else {"files": relative}
    return DataSource(frames, keys | options, ", ".join(path.name for path in paths.values()))


def relative_path(path: Path, folder: Path) -> str:
    """A path as a file in `folder` names it.

    Raises:
        FinError: the two are on different drives.
    """
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError as error:
        raise FinError(f"{path}: on another drive than {folder}, so it has no relative path: copy it there") from error


def concat_splits(frames: "Mapping[str, pd.DataFrame]") -> "pd.DataFrame":
    """The rows of all splits, with the columns that all splits have; nested columns are named by their paths."""
    import pandas as pd

    from fin_plugins.data.nested_cells import expand_objects

    return expand_objects(pd.concat(frames.values(), ignore_index=True, join="inner"))


def guess_columns(frame: "pd.DataFrame") -> ColumnGuess:
    """Guess the columns by name, otherwise by content.

    Args:
        frame: all rows.
    """
    split = _find_by_name(frame, _SPLIT_NAMES)
    split = split if split is not None and _holds_split_names(frame[split]) else None
    rest = [column for column in frame.columns if column != split]
    label = _find_by_name(frame[rest], _LABEL_NAMES)
    if label is None:
        label = _find_categorical(frame[rest], _TYPICAL_LABELS) or _find_categorical(frame[rest], _MAX_LABELS)
    rest = [column for column in rest if column != label]
    text = _find_by_name(frame[rest], _TEXT_NAMES)
    if text is None and rest:
        text = max(rest, key=lambda column: frame[column].str.len().mean())
    return ColumnGuess(text, label, split)


def get_column(frame: "pd.DataFrame", name: str, flag: str) -> "pd.Series[str]":
    """The column of a name, or of a dotted path into cells of JSON.

    Args:
        frame: all rows.
        name: the column.
        flag: the option that names it, for messages.

    Raises:
        FinError: there is no such column.
    """
    from fin_plugins.tasks.custom_rows import find_column

    cells = find_column(frame, name)
    if cells is not None:
        return cells
    nested = next((str(path) for path in frame.columns if str(path).startswith(f"{name}.")), None)
    if nested is not None:
        raise FinError(f"{flag} {name}: holds objects: name a value in them, as in {flag} {shlex.quote(nested)}")
    listing = ", ".join(shlex.quote(str(column)) for column in frame.columns)
    raise FinError(f"{flag} {name}: no such column{did_you_mean(name, frame.columns)}; there are {listing}")


def count_labels(column: "pd.Series[str]", name: str) -> dict[str, int]:
    """Rows by label; numbers in numeric order, other labels in alphabetical order.

    Args:
        column: the label of each row.
        name: name of the column, for messages.

    Raises:
        FinError: a row has no label, there is one label or far too many, or the cells hold lists or objects.
    """
    _require_scalars(column, name)
    values = column.str.strip()
    unlabelled = [number for number, value in enumerate(values, 1) if not value]
    if unlabelled:
        listing = ", ".join(map(str, unlabelled[:_MAX_LISTED])) + (", …" if len(unlabelled) > _MAX_LISTED else "")
        rows = f"{len(unlabelled)} row{'s have' if len(unlabelled) > 1 else ' has'}"
        raise FinError(
            f"column {name}: {rows} no label (row {listing}): add labels, or leave these rows out with --drop-label ''"
        )
    if len(values) and all(value.removesuffix(".0").lstrip("-").isdecimal() for value in values.unique()):
        values = values.str.removesuffix(".0")
    counts = {str(value): int(count) for value, count in values.value_counts().items()}
    if not 2 <= len(counts) <= _MAX_LABELS:
        raise FinError(f"column {name}: {len(counts):,} different values: a label column has 2 to {_MAX_LABELS}")
    return {label: counts[label] for label in sorted(counts, key=_numeric_order)}


def count_duplicates(texts: Sequence[str], labels: Sequence[str]) -> tuple[int, int]:
    """Count equal texts, ignoring case and white space.

    Returns:
        Rows whose text occurs in an earlier row, and texts with different labels.
    """
    from fin_plugins.data.text_hashes import normalise

    labels_by_text: dict[str, set[str]] = {}
    for text, label in zip(texts, labels, strict=True):
        labels_by_text.setdefault(normalise(text), set()).add(label)
    return len(texts) - len(labels_by_text), sum(len(labels) > 1 for labels in labels_by_text.values())


def _files_by_split(data: Sequence[str]) -> dict[str, str]:
    from fin_plugins.tasks.custom_rows import SPLIT_ALIASES

    if len(data) == 1 and (Path(data[0]).exists() or "=" not in data[0]):
        return {"all": data[0]}
    files: dict[str, str] = {}
    for argument in data:
        name, equals, path = argument.partition("=")
        split = SPLIT_ALIASES.get(name.lower())
        if not equals or split is None:
            raise FinError(f"--data {argument}: several files are named as train=FILE, validation=FILE, test=FILE")
        if split in files:
            raise FinError(f"--data {argument}: {split} is named twice")
        files[split] = path
    return files


def _read_hub(name: str, folder: Path) -> DataSource:
    from fin_plugins.data.tables import read_hub_dataset

    if name.startswith((".", "/", "~")):
        path = relative_path(Path(name).expanduser(), folder)
        path = path if path.startswith("../") else f"./{path}"
        return DataSource(read_hub_dataset(path, folder), {"hub": path}, path)
    name, _, revision = name.partition("@")
    name, _, config = name.partition(":")
    frames = read_hub_dataset(name, folder, config or None, revision or None)
    keys = {"hub": name, "hub_config": config, "hub_revision": revision}
    return DataSource(frames, {key: value for key, value in keys.items() if value}, name)


def _find_by_name(frame: "pd.DataFrame", names: Sequence[str]) -> str | None:
    columns = {str(column).strip().lower(): str(column) for column in reversed(frame.columns)}
    return next((columns[name] for name in names if name in columns), None)


def _find_categorical(frame: "pd.DataFrame", limit: int) -> str | None:
    """The only column with few different values; None if there is none or more than one."""
    columns = [str(name) for name in frame.columns if 2 <= frame[name].nunique() <= min(limit, len(frame) // 3)]
    return columns[0] if len(columns) == 1 else None


def _holds_split_names(column: "pd.Series[str]") -> bool:
    from fin_plugins.tasks.custom_rows import SPLIT_ALIASES

    splits = {SPLIT_ALIASES.get(value) for value in column.str.strip().str.lower().unique()}
    return None not in splits and "test" in splits


def _require_scalars(column: "pd.Series[str]", name: str) -> None:
    """Raise an error if the cells hold lists or objects instead of labels."""
    from fin_plugins.data.nested_cells import first_leaf_path, max_list_length, nesting

    content = nesting(column)
    if content is None:
        return
    path = shlex.quote(first_leaf_path(column, name))
    if content == "objects":
        raise FinError(f"column {name}: holds objects, not labels: name a value in them, as in --label {path}")
    longest = max_list_length(column)
    items = f"some have up to {longest} items, of which a row can keep one" if longest > 1 else "each has one item"
    raise FinError(f"column {name}: the labels are in lists ({items}): take the first with --label {path}")


def _numeric_order(label: str) -> tuple[float, str]:
    try:
        return float(label), label
    except ValueError:
        return float("inf"), label
