"""Texts: rows without one, and texts that carry two labels."""

from collections import Counter
from collections.abc import Iterator, Sequence

from fin_plugins.checks.model import Finding, TaskFile
from fin_plugins.checks.rows.model import Rows, Split

MOST_IN_CONFLICT = 0.05
"""Our own sets from human annotators have up to 1.7 % (FiQA); FinRED's 28 % is a ceiling that its task file states."""


def check(file: TaskFile, rows: Rows) -> Iterator[Finding]:
    """Rules D05 and D07; the data sets that ship stay as published, and their cards say how they are."""
    if rows.kind != "own":
        return
    for name, split in rows.splits.items():
        yield from _empty(file, name, split)
        yield from _in_conflict(file, name, split)


def _empty(file: TaskFile, name: str, split: Split) -> Iterator[Finding]:
    empty = [number for number, text in enumerate(split.normalised) if not text]
    if empty:
        share = f"{len(empty):,} of {len(split.names):,} rows of {name}"
        message = f"{share} have no text and are left out: {split.rows(empty)}"
        yield file.finding("D05", ("dataset_kwargs",), message)


def _in_conflict(file: TaskFile, name: str, split: Split) -> Iterator[Finding]:
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, (text, also) in enumerate(zip(split.normalised, split.also, strict=True)):
        if text:
            groups.setdefault((text, *also), []).append(number)
    values = split.values or [""] * len(split.names)
    torn = [group for group in groups.values() if len({values[number] for number in group}) > 1]
    rows = sum(map(len, torn))
    if rows > MOST_IN_CONFLICT * len(split.names):
        lost = rows - sum(_commonest(values, group) for group in torn)
        first = split.rows(torn[0])
        message = (
            f"{rows:,} of {len(split.names):,} rows of {name} share their text with a row of another label "
            f"(such as {first}): no model can be right on more than {1 - lost / len(split.names):.1%} of them"
        )
        yield file.finding("D07", ("dataset_kwargs",), message)


def _commonest(values: Sequence[str], group: list[int]) -> int:
    return Counter(values[number] for number in group).most_common(1)[0][1]
