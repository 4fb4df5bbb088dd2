"""Describe how two snapshots differ."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def compare(before: Path, after: Path, ignore: str | None = None, limit: int = 5) -> bool:
    """Print the first differences of each section.

    Args:
        before: folder of the first snapshot.
        after: folder of the second snapshot.
        ignore: regular expression; differences whose line matches do not count.
        limit: number of differences to print per section.

    Returns:
        Whether the two are equal.
    """
    names = sorted({file.stem for folder in (before, after) for file in folder.glob("*.json")})
    if not names:
        raise SystemExit(f"no snapshot in {before} or {after}")
    different = False
    for name in names:
        files = [folder / f"{name}.json" for folder in (before, after)]
        missing = [str(file) for file in files if not file.is_file()]
        lines = [f"{file} is missing" for file in missing]
        if not missing:
            lines = list(differences(*(json.loads(file.read_text(encoding="utf-8")) for file in files)))
        if ignore:
            lines = [line for line in lines if not re.search(ignore, line)]
        different |= bool(lines)
        print(f"{name}: {f'different in {len(lines)} place(s)' if lines else 'equal'}")
        for line in lines[:limit]:
            print(f"  {line}")
        if len(lines) > limit:
            print(f"  and {len(lines) - limit} more")
    return not different


def differences(before: Any, after: Any, place: str = "") -> Iterator[str]:
    """One line for each place where two JSON values differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            inner = f"{place} > {key}" if place else key
            if key not in after or key not in before:
                yield f"{inner}: only {'before' if key in before else 'after'}"
            else:
                yield from differences(before[key], after[key], inner)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _list_differences(before, after, place)
    elif json.dumps(before) != json.dumps(after):  # NaN equals NaN here
        yield f"{place}: {_shorten(before, after)} before, {_shorten(after, before)} after"


def _list_differences(before: list[Any], after: list[Any], place: str) -> Iterator[str]:
    if len(before) == len(after):
        for number, (first, second) in enumerate(zip(before, after, strict=True)):
            yield from differences(first, second, f"{place} > {number}")
    elif all(isinstance(entry, str) for entry in before + after):
        first, second = Counter(before), Counter(after)
        yield from (f"{place}: only before: {entry}" for entry in (first - second).elements())
        yield from (f"{place}: only after: {entry}" for entry in (second - first).elements())
    else:
        yield f"{place}: {len(before)} entries before, {len(after)} after"


def _shorten(value: Any, other: Any) -> str:
    """A value as JSON; if that is long, only the part around the first difference from the other value."""
    text, other_text = (json.dumps(json_value, ensure_ascii=False) for json_value in (value, other))
    if len(text) <= 100:
        return text
    pairs = enumerate(zip(text, other_text, strict=False))
    start = max(next((index for index, (a, b) in pairs if a != b), len(other_text)) - 30, 0)
    return f"{'…' * bool(start)}{text[start : start + 80]}…"
