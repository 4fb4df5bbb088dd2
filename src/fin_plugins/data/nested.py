"""What is inside cells that hold JSON: `document.body`, `labels.0`."""

import ast
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from fin_plugins.data.tables import as_text

if TYPE_CHECKING:
    import pandas as pd

_LOOKED_AT = 100
_NAMES_AT_MOST = 50
_LONGEST_LITERAL = 10_000

_ABSENT = object()


def inside(frame: "pd.DataFrame", path: str) -> "pd.Series[str] | None":
    """A column of what a dotted path leads to in the cells of another column; None where it leads nowhere.

    Args:
        frame: cells as text.
        path: name of a column, then names of an object's keys or numbers of a list's items, counted from 0.
    """
    parts = path.split(".")
    for end in range(1, len(parts)):
        if (name := ".".join(parts[:end])) in frame:
            found = [_reached(_parsed(cell), parts[end:]) for cell in frame[name]]
            if any(value is not _ABSENT for value in found):
                cells = ["" if value is _ABSENT else as_text(value) for value in found]
                return frame[name].__class__(cells, index=frame.index, dtype=object, name=path)
    return None


def opened(frame: "pd.DataFrame") -> "pd.DataFrame":
    """The frame with a column for each path inside, in place of the columns that hold objects.

    Args:
        frame: cells as text.
    """
    names: list[str] = []
    for name in map(str, frame.columns):
        paths = _paths(frame[name], name) if kind(frame[name]) == "objects" else [name]
        names += paths if len(paths) <= _NAMES_AT_MOST else [name]
    columns = {name: frame[name] if name in frame else inside(frame, name) for name in names}
    return frame.__class__({name: cells for name, cells in columns.items() if cells is not None}, dtype=object)


def kind(cells: Iterable[str]) -> Literal["objects", "lists"] | None:
    """What all cells of a column hold, those without anything aside; None where they are plain."""
    found = {type(value) for value in _first(cells)}
    return "objects" if found == {dict} else "lists" if found == {list} else None


def first_path(cells: Iterable[str], name: str) -> str:
    """The first path from a column to something that is neither an object nor a list."""
    value: Any = next(_first(cells), None)
    while isinstance(value, dict | list) and value:
        key, value = next(iter(value.items())) if isinstance(value, dict) else (0, value[0])
        name = f"{name}.{key}"
    return name


def longest_list(cells: Iterable[str]) -> int:
    """The number of items of the longest list in a column."""
    return max((len(value) for cell in cells if isinstance(value := _parsed(cell), list)), default=0)


def _first(cells: Iterable[str]) -> Iterator[Any]:
    """The values of the first cells with anything in them; None for a plain one."""
    filled = (cell for cell in cells if cell.strip())
    return (_parsed(cell) for cell, _ in zip(filled, range(_LOOKED_AT), strict=False))


def _paths(cells: Iterable[str], name: str) -> list[str]:
    found = (path for value in _first(cells) for path in _leaves(value, name))
    return list(dict.fromkeys(found))


def _leaves(value: Any, name: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}")
    else:
        yield name


def _reached(value: Any, parts: Sequence[str]) -> Any:
    """What a path leads to; a key may have dots of its own."""
    if not parts:
        return value
    if isinstance(value, list):
        there = parts[0].isdecimal() and int(parts[0]) < len(value)
        return _reached(value[int(parts[0])], parts[1:]) if there else _ABSENT
    if isinstance(value, dict):
        for end in range(1, len(parts) + 1):
            if (key := ".".join(parts[:end])) in value:
                return _reached(value[key], parts[end:])
    return _ABSENT


def _parsed(cell: str) -> Any:
    """An object or a list that is written in a cell as JSON or as pandas writes it into CSV; else None."""
    plain = cell.strip()
    if plain[:1] + plain[-1:] not in ("{}", "[]"):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(plain if read is json.loads else plain[:_LONGEST_LITERAL])
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
        return value if isinstance(value, dict | list) else None
    return None
