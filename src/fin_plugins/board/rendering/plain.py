"""`board.json`: all figures of the board for programs, without documents and texts. Shares are from 0 to 1."""

import json
import math
from dataclasses import asdict
from typing import Any

from fin_plugins.board.model import Board, Cell, Entry

SCHEMA = 1


def plain(board: Board) -> str:
    """The text of the file: strict JSON; what is not a finite number is null."""
    content = {
        "schema": SCHEMA,
        "made_with": board.made_with,
        "columns": [{**_fields(column, "entries"), "explanation": column.explanation} for column in board.columns],
        "cells": [{"column": key, **_cell(cell)} for (key, _), cell in board.cells.items()],
        "tests": board.tests,
        "means": [asdict(mean) for mean in board.means],
        "ranks": [asdict(rank) for rank in board.ranks],
        "contrasts": [asdict(contrast) for contrast in board.contrasts],
        "forgetting": [asdict(one) for one in board.forgetting],
        "published": [asdict(one) for one in board.published],
        "older": [_entry(entry) for entry in board.older],
        "problems": [asdict(problem) for problem in board.problems],
    }
    return json.dumps(_strict(content), allow_nan=False, ensure_ascii=False, indent=1) + "\n"


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        **_entry(cell.entry),
        "figures": {name: asdict(estimate) for name, estimate in cell.figures.items()},
        "floors": cell.floors,
        "not_above_floor": cell.not_above,
        "many_missing": cell.many_missing,
        "confusion": None if cell.confusion is None else cell.confusion.tolist(),
    }


def _entry(entry: Entry) -> dict[str, Any]:
    return _fields(entry, "documents")


def _fields(record: Any, without: str) -> dict[str, Any]:
    """The record's fields less one, which `asdict` would copy whole only to be thrown away."""
    kept = {name: value for name, value in vars(record).items() if name != without}
    return {name: asdict(value) if hasattr(value, "__dataclass_fields__") else value for name, value in kept.items()}


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _strict(below) for name, below in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(below) for below in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
