"""Values inside cells that hold JSON, addressed by dotted paths: `document.body`, `labels.0`."""

import ast
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from fin_plugins.data.tables import cell_text

if TYPE_CHECKING:
    import pandas as pd

_SAMPLED_CELLS = 100
_MAX_PATHS = 50
_MAX_LITERAL = 10_000

_ABSENT = object()


def extract_path(frame: "pd.DataFrame", path: str) -> "pd.Series[str] | None":
    """The values at a dotted path in the cells of a column; None if no cell has one.

    Args:
        frame: cells as text.
        path: name of a column, then keys of objects or positions in lists, from 0.
    """
    parts = path.split(".")
    for end in range(1, len(parts)):
        if (name := ".".join(parts[:end])) in frame:
            values = [_value_at(_parse(cell), parts[end:]) for cell in frame[name]]
            if any(value is not _ABSENT for value in values):
                cells = ["" if value is _ABSENT else cell_text(value) for value in values]
                return frame[name].__class__(cells, index=frame.index, dtype=object, name=path)
    return None


def expand_objects(frame: "pd.DataFrame") -> "pd.DataFrame":
    """The frame with one column per path inside, in place of each column of objects.

    Args:
        frame: cells as text.
    """
    names: list[str] = []
    for name in map(str, frame.columns):
        paths = _paths(frame[name], name) if nesting(frame[name]) == "objects" else [name]
        names += paths if len(paths) <= _MAX_PATHS else [name]
    columns = {name: frame[name] if name in frame else extract_path(frame, name) for name in names}
    return frame.__class__({name: cells for name, cells in columns.items() if cells is not None}, dtype=object)


def nesting(cells: Iterable[str]) -> Literal["objects", "lists"] | None:
    """What all non-empty cells of a column hold; None if they are plain text."""
    types = {type(value) for value in _first_values(cells)}
    return "objects" if types == {dict} else "lists" if types == {list} else None


def first_leaf_path(cells: Iterable[str], name: str) -> str:
    """The first path of a column to a value that is neither an object nor a list."""
    value: Any = next(_first_values(cells), None)
    while isinstance(value, dict | list) and value:
        key, value = next(iter(value.items())) if isinstance(value, dict) else (0, value[0])
        name = f"{name}.{key}"
    return name


def max_list_length(cells: Iterable[str]) -> int:
    """The length of the longest list in a column."""
    return max((len(value) for cell in cells if isinstance(value := _parse(cell), list)), default=0)


def _first_values(cells: Iterable[str]) -> Iterator[Any]:
    """The parsed values of the first non-empty cells; None for plain text."""
    filled = (cell for cell in cells if cell.strip())
    return (_parse(cell) for cell, _ in zip(filled, range(_SAMPLED_CELLS), strict=False))


def _paths(cells: Iterable[str], name: str) -> list[str]:
    paths = (path for value in _first_values(cells) for path in _leaf_paths(value, name))
    return list(dict.fromkeys(paths))


def _leaf_paths(value: Any, name: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaf_paths(inner, f"{name}.{key}")
    else:
        yield name


def _value_at(value: Any, parts: Sequence[str]) -> Any:
    """The value at a path; a key may contain dots itself."""
    if not parts:
        return value
    if isinstance(value, list):
        exists = parts[0].isdecimal() and int(parts[0]) < len(value)
        return _value_at(value[int(parts[0])], parts[1:]) if exists else _ABSENT
    if isinstance(value, dict):
        for end in range(1, len(parts) + 1):
            if (key := ".".join(parts[:end])) in value:
                return _value_at(value[key], parts[end:])
    return _ABSENT


def _parse(cell: str) -> Any:
    """The object or list in a cell, written as JSON or as pandas writes it into CSV; None for plain text."""
    text = cell.strip()
    if text[:1] + text[-1:] not in ("{}", "[]"):
        return None
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text if parse is json.loads else text[:_MAX_LITERAL])
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
        return value if isinstance(value, dict | list) else None
    return None
