"""How two snapshots differ, in words."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def compare(before: Path, after: Path, ignore: str | None = None, most: int = 5) -> bool:
    """Print the first differences of each section.

    Args:
        before: folder of a snapshot.
        after: folder of another one.
        ignore: regular expression; differences whose line it is found in do not count.
        most: lines to print per section.

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
        found = [f"{file} is missing" for file in missing]
        if not missing:
            found = list(differences(*(json.loads(file.read_text(encoding="utf-8")) for file in files)))
        if ignore:
            found = [line for line in found if not re.search(ignore, line)]
        different |= bool(found)
        print(f"{name}: {f'different in {len(found)} place(s)' if found else 'equal'}")
        for line in found[:most]:
            print(f"  {line}")
        if len(found) > most:
            print(f"  and {len(found) - most} more")
    return not different


def differences(before: Any, after: Any, place: str = "") -> Iterator[str]:
    """Each place where two JSON values differ, in words."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            at = f"{place} > {key}" if place else key
            if key not in after or key not in before:
                yield f"{at}: only {'before' if key in before else 'after'}"
            else:
                yield from differences(before[key], after[key], at)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _of_lists(before, after, place)
    elif json.dumps(before) != json.dumps(after):  # NaN equals NaN here
        yield f"{place}: {_short(before, after)} before, {_short(after, before)} after"


def _of_lists(before: list[Any], after: list[Any], place: str) -> Iterator[str]:
    if len(before) == len(after):
        for number, (first, second) in enumerate(zip(before, after, strict=True)):
            yield from differences(first, second, f"{place} > {number}")
    elif all(isinstance(entry, str) for entry in before + after):
        first, second = Counter(before), Counter(after)
        yield from (f"{place}: only before: {entry}" for entry in (first - second).elements())
        yield from (f"{place}: only after: {entry}" for entry in (second - first).elements())
    else:
        yield f"{place}: {len(before)} entries before, {len(after)} after"


def _short(value: Any, other: Any) -> str:
    """A value; of a long text, what stands around the first difference."""
    text, second = (json.dumps(one, ensure_ascii=False) for one in (value, other))
    if len(text) <= 100:
        return text
    pairs = enumerate(zip(text, second, strict=False))
    start = max(next((place for place, (a, b) in pairs if a != b), len(second)) - 30, 0)
    return f"{'…' * bool(start)}{text[start : start + 80]}…"
