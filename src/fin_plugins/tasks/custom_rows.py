"""Rows of a user's own data, as `dataset_kwargs` describes them: read, labelled, split and decontaminated."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fin_plugins.common.errors import FinError
from fin_plugins.common.validation import did_you_mean
from fin_plugins.tasks.task_config import CustomDatasetConfig

if TYPE_CHECKING:
    import pandas as pd

    Frames = dict[str, pd.DataFrame]

SPLIT_ALIASES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Split names found in data sets, and what they stand for."""

RESERVED_COLUMNS = ("id", "text", "label", "choices", "gold", "aliases", "data")
"""Columns of every document, whose names further columns cannot have."""

_MAX_LISTED = 5


@dataclass(frozen=True)
class CustomSplits:
    """Splits ready for use.

    Attributes:
        frames: by split: `id` (the split and the row's number in the file), `text`, `label` and the further columns.
        empty: number of rows dropped because they have no text.
        leaks: number of train and validation rows dropped because a held-out split has their text.
        dropped: number of rows dropped for their label.
    """

    frames: "Frames"
    empty: int
    leaks: int
    dropped: int


def read_custom_rows(config: CustomDatasetConfig, folder: Path) -> CustomSplits:
    """Read the rows that `dataset_kwargs` describes.

    Args:
        config: the task file's `dataset_kwargs`.
        folder: the task file's folder, which paths are relative to.

    Raises:
        FinError: a file cannot be read, lacks a column, or has a label that is not listed; or there is no test split.
    """
    return make_splits(config, read_tables(config, folder), source_name(config))


def source_name(config: CustomDatasetConfig) -> str:
    """Name of the file, files or Hub data set, for messages."""
    return config.file or config.hub or ", ".join((config.files or {}).values())


def read_tables(config: CustomDatasetConfig, folder: Path) -> "Frames":
    """The raw tables by the source's own split names; a table without splits is `all`.

    Raises:
        FinError: a file cannot be read.
    """
    from fin_plugins.data.tables import read_hub_dataset, read_table

    if config.hub:
        return read_hub_dataset(config.hub, folder, config.hub_config, config.hub_revision)
    paths: Mapping[str, str] = config.files or {"all": str(config.file)}  # type: ignore[assignment]
    for path in paths.values():
        if not (folder / path).exists():
            raise FinError(f"{path}: no such file in {folder} (paths are relative to the task file)")
    return {split: read_table(folder / path, config.sheet, config.encoding) for split, path in paths.items()}


def make_splits(config: CustomDatasetConfig, tables: "Frames", name: str) -> CustomSplits:
    """Make splits from tables.

    Args:
        config: the task file's `dataset_kwargs`.
        tables: as returned by `read_tables`.
        name: what they come from, for messages.

    Raises:
        FinError: a column is missing, a label is not listed, or there is no test split.
    """
    from fin_plugins.data.decontamination import decontaminate

    numbered = {split: _number_rows(_select_columns(config, frame, name)) for split, frame in tables.items()}
    labelled = {split: without_dropped_labels(config, frame, frame["label"]) for split, frame in numbered.items()}
    frames = _label_words(config, labelled, name)
    with_text = {split: frame[frame["text"].str.strip() != ""] for split, frame in frames.items()}
    splits = _named_splits(config, with_text, name)
    clean = decontaminate(splits)
    return CustomSplits(
        frames={split: _with_ids(_ordered(config, split, frame), split) for split, frame in clean.items()},
        empty=_count(frames) - _count(with_text),
        leaks=_count(splits) - _count(clean),
        dropped=_count(numbered) - _count(labelled),
    )


def reshuffle_warning(config: CustomDatasetConfig) -> str | None:
    """A warning that rows will change their split when the table grows; None if they keep it."""
    if config.splits is None or config.split_method == "text_hash" or config.hub_revision is not None:
        return None
    return (
        "`split_method` is not set, so all rows are reshuffled as soon as one is added: test rows then move to train, "
        "and a model trained before has seen rows that it is tested on. `split_method: text_hash` keeps each row in "
        "its split (this changes the splits once: raise `version` and train again)"
    )


def find_column(frame: "pd.DataFrame", name: str) -> "pd.Series[str] | None":
    """The column of this name, or of this dotted path into JSON cells; None if there is none."""
    from fin_plugins.data.nested_cells import extract_path

    return frame[name] if name in frame else extract_path(frame, name)


def without_dropped_labels(
    config: CustomDatasetConfig, frame: "pd.DataFrame", values: "pd.Series[str]"
) -> "pd.DataFrame":
    """The rows whose label is not in `drop_labels`.

    Args:
        config: the task file's `dataset_kwargs`.
        frame: the rows.
        values: their labels, as in the data.
    """
    if not config.drop_labels:
        return frame
    return frame[values.map(lambda value: match_label(value, config.drop_labels) is None).astype(bool)]


def match_label(value: str, labels: Collection[str]) -> str | None:
    """The label of a list that a value in the data equals; None if there is none.

    Surrounding white space is ignored, and 0.0 equals 0: pandas writes a column of integers with a gap that way.

    Args:
        value: as in the data.
        labels: as in the task file.
    """
    plain = value.strip()
    integer = plain.removesuffix(".0")
    spellings = (value, plain, *([integer] if integer.lstrip("-").isdecimal() else []))
    return next((spelling for spelling in spellings if spelling in labels), None)


def label_word(value: str, labels: list[str] | dict[str, str]) -> str | None:
    """The word that a value in the data stands for; None if the value is not listed.

    Args:
        value: as in the data.
        labels: as in the task file.
    """
    label = match_label(value, labels)
    return labels[label] if label is not None and isinstance(labels, dict) else label


def _select_columns(config: CustomDatasetConfig, frame: "pd.DataFrame", name: str) -> "pd.DataFrame":
    """The columns that the task file names, under our names."""
    import pandas as pd

    columns = config.columns
    reserved = next((column for column in columns.also if column in RESERVED_COLUMNS), None)
    if reserved:
        raise FinError(f"{name}: columns.also: {reserved} is a reserved column name: rename that column in the data")
    paths = {"text": columns.text, "label": columns.label}
    paths |= {"__split__": config.split_column} if config.split_column else {}
    cells = {ours: find_column(frame, path) for ours, path in paths.items()}
    missing = [paths[ours] for ours, column in cells.items() if column is None]
    missing += [column for column in columns.also if column not in frame]
    if missing:
        names = map(str, frame.columns)
        listed = ", ".join(repr(column) if "," in column else column for column in names)
        hint = did_you_mean(missing[0], frame.columns)
        raise FinError(f"{name}: no column {missing[0]!r}{hint}; there are {listed}")
    return pd.DataFrame({**cells, **{column: frame[column] for column in columns.also}})


def _number_rows(frame: "pd.DataFrame") -> "pd.DataFrame":
    return frame.assign(__row__=range(1, len(frame) + 1))


def _label_words(config: CustomDatasetConfig, frames: "Frames", name: str) -> "Frames":
    """The rows with words in place of the data's labels."""
    words = {value: label_word(value, config.labels) for frame in frames.values() for value in frame["label"].unique()}
    unknown = {value for value, word in words.items() if word is None}
    if unknown:
        raise FinError(f"{name}: {_unlisted_labels(config, frames, unknown)}")
    return {split: frame.assign(label=frame["label"].map(words)) for split, frame in frames.items()}


def _unlisted_labels(config: CustomDatasetConfig, frames: "Frames", unknown: set[str]) -> str:
    counts: dict[str, int] = {}
    for frame in frames.values():
        for value, count in frame["label"].value_counts().items():
            if value in unknown:
                counts[str(value)] = counts.get(str(value), 0) + int(count)
    labels = list(config.labels)
    most_frequent = [
        f"{value or 'no label'}{did_you_mean(value, labels) if value else ''} "
        f"in {count:,} row{'s' if count > 1 else ''}"
        for value, count in sorted(counts.items(), key=lambda item: -item[1])[:_MAX_LISTED]
    ]
    more = f" and {len(counts) - _MAX_LISTED} more" if len(counts) > _MAX_LISTED else ""
    return (
        f"column {config.columns.label!r} has labels that the task file does not list: "
        f"{', '.join(most_frequent)}{more}; listed are {', '.join(labels)}"
    )


def _named_splits(config: CustomDatasetConfig, frames: "Frames", name: str) -> "Frames":
    """The rows by split (train, validation, test), however the task file defines the splits."""
    import pandas as pd

    if config.splits:
        table = pd.concat(_renumbered(frames), ignore_index=True)
        return _check_not_empty(config, cut_splits(config, table), table, name)
    if config.split_column:
        frames = _split_by_column(pd.concat(_renumbered(frames), ignore_index=True), config.split_column, name)
    splits: Frames = {}
    for split, frame in frames.items():
        if (known := SPLIT_ALIASES.get(split.strip().lower())) is None:
            continue
        if known in splits:
            raise FinError(f"{name}: two splits are {known}: {', '.join(frames)}")
        splits[known] = frame.drop(columns="__split__", errors="ignore")
    if "test" not in splits or splits["test"].empty:
        raise FinError(
            f"{name}: no test rows; there are {', '.join(frames)}: add `splits: {{test: 0.2}}` to cut some off"
        )
    return splits


def _renumbered(frames: "Frames") -> "list[pd.DataFrame]":
    """The frames with row numbers that continue from one to the next, so that each number is unique."""
    start, numbered = 0, []
    for frame in frames.values():
        numbered.append(frame.assign(__row__=frame["__row__"] + start))
        start += int(frame["__row__"].max()) if len(frame) else 0
    return numbered


def cut_splits(config: CustomDatasetConfig, frame: "pd.DataFrame") -> "Frames":
    """Cut a table as `splits` says; a split may be empty.

    Args:
        config: the task file's `dataset_kwargs`, with `splits`.
        frame: rows with a non-empty `text`, and `label`.
    """
    from fin_plugins.data.splitting import split_by_text_hash, split_grouped

    assert config.splits is not None
    shares = {"test": config.splits.test, "validation": config.splits.validation or 0.0}
    if config.split_method == "text_hash":
        splits = split_by_text_hash(frame, seed=config.split_seed, **shares)
    else:
        sizes = {split: max(1, round(share * len(frame))) for split, share in shares.items() if share}
        splits = split_grouped(frame, seed=config.split_seed, **sizes)
    return {"test": splits["test"]} if config.splits.test == 1 else splits


def _check_not_empty(config: CustomDatasetConfig, splits: "Frames", table: "pd.DataFrame", name: str) -> "Frames":
    from fin_plugins.data.text_hashes import normalise

    empty = [split for split, frame in splits.items() if frame.empty]
    if not empty:
        return splits
    texts = len(set(table["text"].map(normalise)))
    if config.split_method == "text_hash" and texts >= len(splits):
        raise FinError(
            f"{name}: none of {texts} different texts falls into {' and '.join(empty)}: "
            "choose another split_seed, or a larger share"
        )
    cut_off = " and ".join(split for split in ("test", "validation") if split in splits)
    counted = f"{texts} different texts" if len(table) != texts else f"{texts} rows with a text"
    raise FinError(
        f"{name}: {counted} are too few to cut off {cut_off}: add rows, or test on all of them with "
        "`splits: {test: 1}` (`fin task new --test 1`)"
    )


def _ordered(config: CustomDatasetConfig, split: str, frame: "pd.DataFrame") -> "pd.DataFrame":
    """Rows in the order in which they are scored and shown."""
    from fin_plugins.data.splitting import shuffle_rows, sort_by_text_hash

    if config.split_method == "text_hash":
        return frame if config.splits else sort_by_text_hash(frame, config.split_seed)  # a cut is sorted already
    return shuffle_rows(frame, config.split_seed) if split == "test" else frame


def _split_by_column(frame: "pd.DataFrame", column: str, name: str) -> "Frames":
    values = frame["__split__"].str.strip().str.lower()
    unknown = values[~values.isin(list(SPLIT_ALIASES))].value_counts()
    if len(unknown):
        counts = ", ".join(f"{value or 'nothing'} in {n:,} rows" for value, n in unknown.head(_MAX_LISTED).items())
        raise FinError(f"{name}: column {column!r} should say train, validation (or dev) or test; it says {counts}")
    return {split: rows.reset_index(drop=True) for split, rows in frame.groupby(values.map(SPLIT_ALIASES), sort=False)}


def _with_ids(frame: "pd.DataFrame", split: str) -> "pd.DataFrame":
    plain = frame.drop(columns="__row__").reset_index(drop=True)
    plain.insert(0, "id", [f"{split}-{number:05d}" for number in frame["__row__"]])
    return plain


def _count(frames: "Mapping[str, pd.DataFrame]") -> int:
    return sum(map(len, frames.values()))
