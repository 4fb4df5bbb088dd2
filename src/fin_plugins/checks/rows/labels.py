"""Labels: those in the data against those of the list, and how many test rows each has."""

from collections import Counter
from collections.abc import Iterator

from fin_plugins.checks.model import Finding, TaskFile
from fin_plugins.checks.rows.model import Rows
from fin_plugins.model_check import hint

FEWEST_TEST_ROWS = 10
FEWEST_OF_A_LABEL = 3

_LISTED = 8


def check(file: TaskFile, rows: Rows) -> Iterator[Finding]:
    """Rules D03, D04 and D09."""
    if rows.labels is None:
        return
    yield from _unlisted(file, rows, list(rows.labels))
    if rows.kind in ("own", "shipped"):  # the embedded sample need not have every label
        yield from _without_rows(file, rows)
    if rows.kind == "own":
        yield from _too_few(file, rows)


def _unlisted(file: TaskFile, rows: Rows, listed: list[str]) -> Iterator[Finding]:
    where: dict[str, list[str]] = {}
    counts: Counter[str] = Counter()
    for split in rows.splits.values():
        found: dict[str, list[int]] = {}
        for number, value in enumerate(split.values or ()):
            if value not in listed:
                found.setdefault(value, []).append(number)
        for value, numbers in found.items():
            counts[value] += len(numbers)
            where.setdefault(value, []).append(split.rows(numbers))
    if counts:
        said = [_one(value, count, where[value], listed) for value, count in counts.most_common(_LISTED)]
        more = f"; and {len(counts) - _LISTED} more labels" if len(counts) > _LISTED else ""
        number = sum(counts.values())
        message = f"{_rows(number)} of the data {_carry(number)} a label that is not listed: {'; '.join(said)}{more}"
        yield file.finding("D03", rows.labels_key, message)


def _one(value: str, count: int, places: list[str], listed: list[str]) -> str:
    shown = f"`{value[:60]}`" if value.strip() else "no label at all"
    near = hint(value, listed) or _as_number(value, listed)
    return f"{shown} {count:,} times, {', '.join(places)}{near}"


def _as_number(value: str, listed: list[str]) -> str:
    """`1.0` for `1`: what a column of numbers becomes where one cell is empty."""
    same = [label for label in listed if _number(label) is not None and _number(label) == _number(value)]
    return f" (did you mean {same[0]}?)" if same else ""


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _without_rows(file: TaskFile, rows: Rows) -> Iterator[Finding]:
    named = {name: file.data.get(f"{name}_split") for name in ("training", "test")}
    splits = {said: rows.splits[said] for said in named.values() if isinstance(said, str) and said in rows.splits}
    everywhere = Counter(value for split in rows.splits.values() for value in split.values or ())
    by_split = {said: Counter(split.values or ()) for said, split in splits.items()}
    for number, value in enumerate(rows.labels or ()):
        key = (*rows.labels_key, number if _is_list(file) else value)
        if not everywhere[value]:
            unlisted = [other for other in everywhere if other not in (rows.labels or ())]
            total = sum(everywhere.values())
            yield file.finding("D04", key, f"none of the {total:,} rows carries `{value}`{hint(value, unlisted)}")
            continue
        for said, counts in by_split.items():
            if not counts[value]:
                others = f"{everywhere[value]:,} in other splits"
                yield file.finding(
                    "D04", key, f"no {said} row of {sum(counts.values()):,} carries `{value}` ({others})"
                )


def _is_list(file: TaskFile) -> bool:
    settings = file.data.get("dataset_kwargs")
    return isinstance(settings, dict) and isinstance(settings.get("labels"), list)


def _too_few(file: TaskFile, rows: Rows) -> Iterator[Finding]:
    said = file.data.get("test_split")
    split = rows.splits.get(said) if isinstance(said, str) else None
    if split is None:
        return
    counts = Counter(split.values or ())
    few = {value: counts[value] for value in rows.labels or () if 0 < counts[value] < FEWEST_OF_A_LABEL}
    listed = ", ".join(f"`{value}` {count}" for value, count in few.items())
    if len(split.names) < FEWEST_TEST_ROWS:
        message = f"{_rows(len(split.names))} in {said}: no score is worth anything below {FEWEST_TEST_ROWS}"
        yield file.finding("D09", ("test_split",), message)
    elif few:
        yield file.finding("D09", ("test_split",), f"fewer than {FEWEST_OF_A_LABEL} rows in {said}: {listed}")


def _rows(number: int) -> str:
    return f"{number:,} row{'s' if number != 1 else ''}"


def _carry(number: int) -> str:
    return "carries" if number == 1 else "carry"
