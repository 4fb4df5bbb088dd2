"""Looking at a user's rows: which column is what, which labels there are, what is odd about them."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fin_plugins.common.errors import FinError
from fin_plugins.common.validation import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

# The most telling name first.
_TEXT = ("text", "sentence", "headline", "title", "body", "content", "message", "review", "tweet", "document")
_LABEL = ("label", "labels", "class", "category", "sentiment", "stance", "target", "topic", "intent", "tag", "y")
_SPLIT = ("split", "set", "subset", "fold", "partition")
_LABELS_AT_MOST = 500
_USUAL_LABELS = 50
_SHOWN = 5


@dataclass(frozen=True)
class Columns:
    """Which column seems to hold what; None where none stands out."""

    text: str | None
    label: str | None
    split: str | None


def guess(frame: "pd.DataFrame") -> Columns:
    """Guess the columns by their names, else by what is in them.

    Args:
        frame: all rows.
    """
    split = _by_name(frame, _SPLIT)
    split = split if split is not None and _names_splits(frame[split]) else None
    rest = [column for column in frame.columns if column != split]
    label = _by_name(frame[rest], _LABEL)
    if label is None:
        label = _only_few(frame[rest], _USUAL_LABELS) or _only_few(frame[rest], _LABELS_AT_MOST)
    rest = [column for column in rest if column != label]
    text = _by_name(frame[rest], _TEXT)
    if text is None and rest:
        text = max(rest, key=lambda column: frame[column].str.len().mean())
    return Columns(text, label, split)


def require(frame: "pd.DataFrame", column: str, flag: str) -> "pd.Series[str]":
    """The column of a name, or of a dotted path into cells that hold JSON.

    Raises:
        FinError: there is none.
    """
    from fin_plugins.tasks.own_rows import column as found_at

    found = found_at(frame, column)
    if found is not None:
        return found
    within = next((str(name) for name in frame.columns if str(name).startswith(f"{column}.")), None)
    if within is not None:
        raise FinError(f"{flag} {column}: holds objects: name what is inside, as in {flag} {shlex.quote(within)}")
    there = ", ".join(shlex.quote(str(name)) for name in frame.columns)
    raise FinError(f"{flag} {column}: no such column{did_you_mean(column, frame.columns)}; there are {there}")


def labels_in(column: "pd.Series[str]", name: str) -> dict[str, int]:
    """The labels with their counts: numbers by size, others by the alphabet.

    Args:
        column: the labels of all rows.
        name: of the column.

    Raises:
        FinError: a row has none, all have the same, there are so many that this can be no label column, or they are
            lists or objects.
    """
    _require_plain(column, name)
    plain = column.str.strip()
    without = [number for number, value in enumerate(plain, 1) if not value]
    if without:
        shown = ", ".join(map(str, without[:_SHOWN])) + (", …" if len(without) > _SHOWN else "")
        rows = f"{len(without)} row{'s have' if len(without) > 1 else ' has'}"
        raise FinError(
            f"column {name}: {rows} no label (row {shown}): give them one, or leave them out with --drop-label ''"
        )
    if len(plain) and all(value.removesuffix(".0").lstrip("-").isdecimal() for value in plain.unique()):
        plain = plain.str.removesuffix(".0")
    counts = {str(value): int(count) for value, count in plain.value_counts().items()}
    if not 2 <= len(counts) <= _LABELS_AT_MOST:
        raise FinError(f"column {name}: {len(counts):,} different values: a label column has 2 to {_LABELS_AT_MOST}")
    return {label: counts[label] for label in sorted(counts, key=_by_size)}


def oddities(texts: Sequence[str], labels: Sequence[str]) -> tuple[int, int]:
    """Count equal texts (after folding case and white space).

    Returns:
        Rows whose text stood in an earlier row, and texts that carry two different labels or more.
    """
    from fin_plugins.data.normalise import normalise

    of_text: dict[str, set[str]] = {}
    for text, label in zip(texts, labels, strict=True):
        of_text.setdefault(normalise(text), set()).add(label)
    return len(texts) - len(of_text), sum(len(found) > 1 for found in of_text.values())


def all_rows(frames: "Mapping[str, pd.DataFrame]") -> "pd.DataFrame":
    """The rows of all splits under each other, with the columns that all splits have; nested ones by their paths."""
    import pandas as pd

    from fin_plugins.data.nested import opened

    return opened(pd.concat(frames.values(), ignore_index=True, join="inner"))


def _only_few(frame: "pd.DataFrame", most: int) -> str | None:
    """The column with few different values; None where there is none or more than one."""
    few = [str(name) for name in frame.columns if 2 <= frame[name].nunique() <= min(most, len(frame) // 3)]
    return few[0] if len(few) == 1 else None


def _require_plain(column: "pd.Series[str]", name: str) -> None:
    """Look whether the cells hold labels, not lists or objects."""
    from fin_plugins.data.nested import first_path, kind, longest_list

    held = kind(column)
    if held is None:
        return
    path = shlex.quote(first_path(column, name))
    if held == "objects":
        raise FinError(f"column {name}: holds objects, not labels: name what is inside, as in --label {path}")
    longest = longest_list(column)
    several = f"some have up to {longest} items, of which a row can keep one" if longest > 1 else "each has one item"
    raise FinError(f"column {name}: the labels stand in lists ({several}): take the first with --label {path}")


def _by_name(frame: "pd.DataFrame", names: Sequence[str]) -> str | None:
    known = {str(column).strip().lower(): str(column) for column in reversed(frame.columns)}
    return next((known[name] for name in names if name in known), None)


def _names_splits(column: "pd.Series[str]") -> bool:
    from fin_plugins.tasks.own_rows import SPLIT_NAMES

    found = {SPLIT_NAMES.get(value) for value in column.str.strip().str.lower().unique()}
    return None not in found and "test" in found


def _by_size(label: str) -> tuple[float, str]:
    try:
        return float(label), label
    except ValueError:
        return float("inf"), label
