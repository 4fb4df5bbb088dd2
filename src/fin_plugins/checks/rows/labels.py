"""Labels: those in the data against those of the list, and how many test rows each has."""

from collections import Counter
from collections.abc import Iterator, Mapping

from fin_plugins.checks.model import Finding, TaskFile
from fin_plugins.checks.rows import splits
from fin_plugins.checks.rows.model import Rows, listed_rows
from fin_plugins.common.validation import did_you_mean

FEWEST_TEST_ROWS = 10
FEWEST_OF_A_LABEL = 3

_LISTED = 8


def check(file: TaskFile, rows: Rows) -> Iterator[Finding]:
    """Rules D03, D04 and D09."""
    if rows.labels is None:
        return
    unlisted = _unlisted(rows, rows.labels)
    found = [_about(file, rows, unlisted, list(rows.labels))] if unlisted else []
    if rows.kind in ("own", "shipped"):  # the embedded sample need not have every label
        found += _without_rows(file, rows, rows.labels, unlisted)
    if rows.kind == "own" and not found:
        found += _too_few(file, rows, rows.labels)
    yield from found


def _unlisted(rows: Rows, labels: Mapping[str, str]) -> dict[str, list[str]]:
    """The rows of every label that is not in the list."""
    where: dict[str, list[str]] = {}
    for name, split in rows.splits.items():
        for row, value in zip(split.names, split.values or [], strict=False):
            if value not in labels:
                where.setdefault(value, []).append(row if rows.one_table else f"{row} of {name}")
    return where


def _about(file: TaskFile, rows: Rows, unlisted: Mapping[str, list[str]], listed: list[str]) -> Finding:
    commonest = sorted(unlisted.items(), key=lambda one: -len(one[1]))
    said = [_one(value, places, listed) for value, places in commonest[:_LISTED]]
    more = f"; and {len(unlisted) - _LISTED} more labels" if len(unlisted) > _LISTED else ""
    number = sum(map(len, unlisted.values()))
    carry = "row carries" if number == 1 else "rows carry"
    message = f"{number:,} {carry} a label that is not in the list: {'; '.join(said)}{more}"
    return file.finding("D03", rows.labels_key, message)


def _one(value: str, places: list[str], listed: list[str]) -> str:
    shown = f"`{value[:60]}`" if value.strip() else "none at all"
    return f"{shown} {len(places):,}× ({listed_rows(places)}){did_you_mean(value, listed)}"


def _without_rows(
    file: TaskFile, rows: Rows, labels: Mapping[str, str], unlisted: Mapping[str, list[str]]
) -> Iterator[Finding]:
    counts = {name: Counter(split.values or ()) for name, split in rows.splits.items()}
    named = [file.data.get(key) for key in ("training_split", "test_split")]
    looked_at = [name for name in named if isinstance(name, str) and name in counts]
    for value in labels:
        key, total = rows.key_of(value), sum(count[value] for count in counts.values())
        if not total and not did_you_mean(value, unlisted):  # else the data spells it otherwise, which D03 has said
            everything = sum(count.total() for count in counts.values())
            yield file.finding("D04", key, f"none of the {everything:,} rows carries `{value}`")
        for name in looked_at if total else ():
            if not counts[name][value]:
                message = f"none of the {counts[name].total():,} rows of {name} carries `{value}`"
                yield file.finding("D04", key, f"{message} ({total:,} in other splits)")


def _too_few(file: TaskFile, rows: Rows, labels: Mapping[str, str]) -> Iterator[Finding]:
    name = splits.scored(file, rows)
    if name is None:
        return
    counts = Counter(rows.splits[name].values or ())
    few = [f"`{value}` {counts[value]}" for value in labels if counts[value] < FEWEST_OF_A_LABEL]
    if counts.total() < FEWEST_TEST_ROWS:
        message = f"{counts.total()} rows in {name}: below {FEWEST_TEST_ROWS}, one row decides the score"
        yield file.finding("D09", splits.key(file), message)
    elif few:
        message = f"fewer than {FEWEST_OF_A_LABEL} rows of a label in {name}: {', '.join(few)}"
        yield file.finding("D09", splits.key(file), message)
