"""The rows that `dataset_kwargs` of a user's task file names: read, labelled, split and cleaned."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fin_plugins.common.errors import FinError
from fin_plugins.common.validation import did_you_mean
from fin_plugins.tasks.fields import OwnRows

if TYPE_CHECKING:
    import pandas as pd

    Frames = dict[str, pd.DataFrame]

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What the splits are called in the wild."""

ADDED = ("id", "text", "label", "choices", "gold", "aliases", "data")
"""What a document holds besides the further columns, which can therefore not be called so."""

_SHOWN = 5


@dataclass(frozen=True)
class Split:
    """Rows, ready for use.

    Attributes:
        frames: by split: `id` (the split and the row's number in the file), `text`, `label` and the further columns.
        empty: rows that were left out because they have no text.
        leaks: train and validation rows that were left out because a held-out split has their text.
        dropped: rows that were left out for their label.
    """

    frames: "Frames"
    empty: int
    leaks: int
    dropped: int


def read(rows: OwnRows, folder: Path) -> Split:
    """Read the rows.

    Args:
        rows: what the task file says.
        folder: what its paths are relative to.

    Raises:
        FinError: a file cannot be read, lacks a column, or carries a label that is not listed; no split is `test`.
    """
    return split_up(rows, tables(rows, folder), where(rows))


def where(rows: OwnRows) -> str:
    """What the rows come from, for messages."""
    return rows.file or rows.hub or ", ".join((rows.files or {}).values())


def tables(rows: OwnRows, folder: Path) -> "Frames":
    """The tables as they are, by the names that their splits have there; one without splits is `all`.

    Raises:
        FinError: a file cannot be read.
    """
    from fin_plugins.data.hub import read_hub
    from fin_plugins.data.tables import read_table

    if rows.hub:
        return read_hub(rows.hub, folder, rows.hub_config, rows.hub_revision)
    named: Mapping[str, str] = rows.files or {"all": str(rows.file)}  # type: ignore[assignment]
    for path in named.values():
        if not (folder / path).exists():
            raise FinError(f"{path}: no such file in {folder} (a path is relative to the task file)")
    return {split: read_table(folder / path, rows.sheet, rows.encoding) for split, path in named.items()}


def split_up(rows: OwnRows, found: "Frames", name: str) -> Split:
    """Make splits of tables.

    Args:
        rows: what the task file says.
        found: the tables, as `tables` reads them.
        name: what they come from, for messages.

    Raises:
        FinError: a column lacks, a label is not listed, or no split is `test`.
    """
    from fin_plugins.data.clean import clean

    numbered = {split: _numbered(_columns(rows, frame, name)) for split, frame in found.items()}
    kept = {split: without_dropped(rows, frame, frame["label"]) for split, frame in numbered.items()}
    frames = _labelled(rows, kept, name)
    with_text = {split: frame[frame["text"].str.strip() != ""] for split, frame in frames.items()}
    splits = _splits(rows, with_text, name)
    cleaned = clean(splits)
    return Split(
        frames={split: _with_ids(_ordered(rows, split, frame), split) for split, frame in cleaned.items()},
        empty=_count(frames) - _count(with_text),
        leaks=_count(splits) - _count(cleaned),
        dropped=_count(numbered) - _count(kept),
    )


def reshuffles(rows: OwnRows) -> str | None:
    """What a table's growth will do to its cut, in a sentence; None where each row keeps its split."""
    if rows.splits is None or rows.split_method == "text_hash" or rows.hub_revision is not None:
        return None
    return (
        "`split_method` is not set, so the rows are dealt anew as soon as one is added: test rows then stand in train, "
        "and a model trained before has seen rows that it is tested on. `split_method: text_hash` keeps each row where "
        "it is (another cut than now: raise `version` and train anew)"
    )


def column(frame: "pd.DataFrame", name: str) -> "pd.Series[str] | None":
    """The column that a task file names, be it by dots inside cells of JSON; None where there is none."""
    from fin_plugins.data.nested import inside

    return frame[name] if name in frame else inside(frame, name)


def without_dropped(rows: OwnRows, frame: "pd.DataFrame", values: "pd.Series[str]") -> "pd.DataFrame":
    """The rows whose label is not one of those that are left out.

    Args:
        rows: what the task file says.
        frame: the rows.
        values: their labels as they stand in the data.
    """
    if not rows.drop_labels:
        return frame
    return frame[values.map(lambda value: spelled(value, rows.drop_labels) is None).astype(bool)]


def spelled(value: str, listed: Collection[str]) -> str | None:
    """How a list spells a value of the data; None where it is not in the list.

    Blanks around it do not count, and 0.0 is 0: a column of whole numbers with a gap is written so.

    Args:
        value: as it stands in the data.
        listed: as the task file has them.
    """
    plain = value.strip()
    whole = plain.removesuffix(".0")
    known = (value, plain, *([whole] if whole.lstrip("-").isdecimal() else []))
    return next((one for one in known if one in listed), None)


def label_of(value: str, labels: list[str] | dict[str, str]) -> str | None:
    """The word that a value in the data stands for; None where it is not listed.

    Args:
        value: as it stands in the data.
        labels: as the task file has them.
    """
    known = spelled(value, labels)
    return labels[known] if known is not None and isinstance(labels, dict) else known


def _columns(rows: OwnRows, frame: "pd.DataFrame", name: str) -> "pd.DataFrame":
    """The columns that the task file names, by our names."""
    import pandas as pd

    columns = rows.columns
    taken = [column for column in columns.also if column in ADDED]
    if taken:
        raise FinError(
            f"{name}: columns.also: {taken[0]} is a name of the loader's own: rename that column in the data"
        )
    missing = next((one for one in columns.also if one not in frame), None)
    named = {"text": columns.text, "label": columns.label}
    named |= {"__split__": rows.split_column} if rows.split_column else {}
    found = {ours: column(frame, theirs) for ours, theirs in named.items()}
    missing = next((named[ours] for ours, cells in found.items() if cells is None), missing)
    if missing is not None:
        listed = ", ".join(repr(str(one)) if "," in str(one) else str(one) for one in frame.columns)
        raise FinError(f"{name}: no column {missing!r}{did_you_mean(missing, frame.columns)}; there are {listed}")
    return pd.DataFrame({**found, **{one: frame[one] for one in columns.also}})


def _numbered(frame: "pd.DataFrame") -> "pd.DataFrame":
    return frame.assign(__row__=range(1, len(frame) + 1))


def _labelled(rows: OwnRows, frames: "Frames", name: str) -> "Frames":
    words = {value: label_of(value, rows.labels) for frame in frames.values() for value in frame["label"].unique()}
    unknown = {value for value, word in words.items() if word is None}
    if unknown:
        raise FinError(f"{name}: {_unlisted(rows, frames, unknown)}")
    return {split: frame.assign(label=frame["label"].map(words)) for split, frame in frames.items()}


def _unlisted(rows: OwnRows, frames: "Frames", unknown: set[str]) -> str:
    counts: dict[str, int] = {}
    for frame in frames.values():
        for value, count in frame["label"].value_counts().items():
            if value in unknown:
                counts[str(value)] = counts.get(str(value), 0) + int(count)
    listed = list(rows.labels)
    shown = [
        f"{value or 'no label'}{did_you_mean(value, listed) if value else ''} "
        f"in {count:,} row{'s' if count > 1 else ''}"
        for value, count in sorted(counts.items(), key=lambda one: -one[1])[:_SHOWN]
    ]
    more = f" and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else ""
    return (
        f"column {rows.columns.label!r} has labels that the task file does not list: {', '.join(shown)}{more}; "
        f"listed are {', '.join(listed)}"
    )


def _splits(rows: OwnRows, frames: "Frames", name: str) -> "Frames":
    import pandas as pd

    if rows.splits:
        whole = pd.concat(_renumbered(frames), ignore_index=True)
        return _filled(rows, cut(rows, whole), whole, name)
    if rows.split_column:
        frames = _by_column(pd.concat(_renumbered(frames), ignore_index=True), rows.split_column, name)
    splits: Frames = {}
    for split, frame in frames.items():
        if (known := SPLIT_NAMES.get(split.strip().lower())) is None:
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
    """Row numbers that go on from one split to the next, so that each stands for one row."""
    start, numbered = 0, []
    for frame in frames.values():
        numbered.append(frame.assign(__row__=frame["__row__"] + start))
        start += int(frame["__row__"].max()) if len(frame) else 0
    return numbered


def cut(rows: OwnRows, frame: "pd.DataFrame") -> "Frames":
    """Cut a table as `splits` says; a split may come out without rows.

    Args:
        rows: what the task file says, with `splits`.
        frame: rows with a `text` that is not empty, and `label`.
    """
    from fin_plugins.data.splitting import by_text, grouped

    assert rows.splits is not None
    shares = {"test": rows.splits.test, "validation": rows.splits.validation or 0.0}
    if rows.split_method == "text_hash":
        splits = by_text(frame, seed=rows.split_seed, **shares)
    else:
        sizes = {split: max(1, round(share * len(frame))) for split, share in shares.items() if share}
        splits = grouped(frame, seed=rows.split_seed, **sizes)
    return {"test": splits["test"]} if rows.splits.test == 1 else splits


def _filled(rows: OwnRows, splits: "Frames", whole: "pd.DataFrame", name: str) -> "Frames":
    """The splits, none of them without rows."""
    from fin_plugins.data.normalise import normalise

    empty = [split for split, frame in splits.items() if frame.empty]
    if not empty:
        return splits
    texts = len(set(whole["text"].map(normalise)))
    if rows.split_method == "text_hash" and texts >= len(splits):
        raise FinError(
            f"{name}: of {texts} different texts none falls into {' and '.join(empty)}: "
            "take another split_seed, or a larger share"
        )
    wanted = " and ".join(split for split in ("test", "validation") if split in splits)
    counted = f"{texts} different texts" if len(whole) != texts else f"{texts} rows with a text"
    raise FinError(
        f"{name}: {counted} are too few to cut off {wanted}: add rows, or test on all of them with "
        "`splits: {test: 1}` (`fin task new --test 1`)"
    )


def _ordered(rows: OwnRows, split: str, frame: "pd.DataFrame") -> "pd.DataFrame":
    """Rows in the order in which they are scored and shown."""
    from fin_plugins.data.splitting import in_order, shuffled

    if rows.split_method == "text_hash":
        return frame if rows.splits else in_order(frame, rows.split_seed)  # a cut is in order
    return shuffled(frame, rows.split_seed) if split == "test" else frame


def _by_column(frame: "pd.DataFrame", column: str, name: str) -> "Frames":
    folded = frame["__split__"].str.strip().str.lower()
    unknown = folded[~folded.isin(list(SPLIT_NAMES))].value_counts()
    if len(unknown):
        shown = ", ".join(f"{value or 'nothing'} in {count:,} rows" for value, count in unknown.head(_SHOWN).items())
        raise FinError(f"{name}: column {column!r} should say train, validation (or dev) or test; it says {shown}")
    names = folded.map(SPLIT_NAMES)
    return {split: rows.reset_index(drop=True) for split, rows in frame.groupby(names, sort=False)}


def _with_ids(frame: "pd.DataFrame", split: str) -> "pd.DataFrame":
    plain = frame.drop(columns="__row__").reset_index(drop=True)
    plain.insert(0, "id", [f"{split}-{number:05d}" for number in frame["__row__"]])
    return plain


def _count(frames: "Mapping[str, pd.DataFrame]") -> int:
    return sum(map(len, frames.values()))
