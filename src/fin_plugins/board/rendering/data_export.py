"""`board.csv` and `board.json`: all figures of the board for programs, without documents. Shares are from 0 to 1."""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from fin_plugins.board.board_data import Board, Cell, Column, Entry, Estimate, Group, Mean, Protocol, Rank
from fin_plugins.common.markdown import single_line

SCHEMA = 1
FIELDS = (
    "kind",  # measured, mean, or published for a paper's figure
    "model",
    "base",
    "column",  # for a mean, all its columns
    "group",  # for a mean: seen, unseen, all
    "task",
    "protocol",
    "seen",
    "data",
    "limit",
    "documents",
    "metric",
    "value",
    "low",
    "high",
    "floor",
    "floor_side",  # at or under; empty if the interval lies above
    "many_missing",
    "missing_tasks",  # for a mean over a part of its group
    "rank",
    "rank_low",
    "rank_high",
    "place",  # where a published figure is printed
)
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class _Number(str):
    """A figure as text, which may begin with a minus sign."""


def csv_text(board: Board) -> str:
    """The content of `board.csv`: one figure per line. Texts that look like a formula get an apostrophe in front."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, FIELDS, lineterminator="\n")
    writer.writeheader()
    for row in _rows(board):
        writer.writerow({name: _safe(value) for name, value in row.items()})
    return stream.getvalue()


def json_text(board: Board) -> str:
    """The content of `board.json`: strict JSON, with null for numbers that are not finite."""
    content = {
        "schema": SCHEMA,
        "made_with": board.made_with,
        "columns": [
            {**_fields(column, without="entries"), "explanation": column.explanation} for column in board.columns
        ],
        "cells": [{"column": key, **_cell_content(cell)} for (key, _), cell in board.cells.items()],
        "tests": board.tests,
        "means": [asdict(mean) for mean in board.means],
        "ranks": [asdict(rank) for rank in board.ranks],
        "contrasts": [asdict(contrast) for contrast in board.contrasts],
        "forgetting": [asdict(change) for change in board.forgetting],
        "published": [asdict(row) for row in board.published],
        "older": [_entry_content(entry) for entry in board.older],
        "problems": [asdict(problem) for problem in board.problems],
    }
    return json.dumps(_finite(content), allow_nan=False, ensure_ascii=False, indent=1) + "\n"


def _cell_content(cell: Cell) -> dict[str, Any]:
    return {
        **_entry_content(cell.entry),
        "figures": {name: asdict(estimate) for name, estimate in cell.figures.items()},
        "floors": cell.floors,
        "not_above_floor": cell.floor_sides,
        "many_missing": cell.many_missing,
        "confusion": None if cell.confusion is None else cell.confusion.tolist(),
    }


def _entry_content(entry: Entry) -> dict[str, Any]:
    return _fields(entry, without="documents")


def _fields(record: Any, *, without: str) -> dict[str, Any]:
    """The fields of a record except a large one, which `asdict` would copy."""
    fields = {name: value for name, value in vars(record).items() if name != without}
    return {
        name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        for name, value in fields.items()
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rows(board: Board) -> Iterator[dict[str, Any]]:
    for column in board.columns:
        for entry in column.entries:
            if cell := board.cells.get((column.key, entry.model)):
                yield from _entry_rows(column, cell)
    ranks = {(rank.model, rank.protocol, rank.group, rank.metric): rank for rank in board.ranks}
    data = {column.key: column.conditions.data for column in board.columns}
    for mean in board.means:
        yield from _mean_rows(mean, ranks, data)
    for row in board.published:
        common = {"kind": "published", "model": f"{row.model}, {row.setting}", "place": row.place}
        for task, figures in row.figures.items():
            for metric, value in figures.items():
                yield {**common, "task": task, "metric": metric, "value": _number(value)}


def _entry_rows(column: Column, cell: Cell) -> Iterator[dict[str, Any]]:
    entry, conditions = cell.entry, column.conditions
    for metric, estimate in cell.figures.items():
        yield {
            "kind": "measured",
            "model": entry.model,
            "base": entry.base,
            "column": column.key,
            "task": column.task,
            "protocol": column.protocol,
            "seen": column.seen,
            "data": conditions.data,
            "limit": conditions.limit,
            "documents": entry.n,
            "metric": metric,
            **_estimate_fields(estimate),
            "floor": _number(cell.floors.get(metric)),
            "floor_side": cell.floor_sides.get(metric),
            "many_missing": cell.many_missing,
        }


def _mean_rows(
    mean: Mean, ranks: Mapping[tuple[str, Protocol, Group, str], Rank], data: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    common = {
        "kind": "mean",
        "model": mean.model,
        "group": mean.group,
        "protocol": mean.protocol,
        "column": " ".join(mean.columns),
        "missing_tasks": " ".join(mean.missing),
        "data": " ".join(sorted({data[key] for key in mean.columns if key in data})),
    }
    for metric, estimate in mean.figures.items():
        rank = ranks.get((mean.model, mean.protocol, mean.group, metric))
        rank_fields = {"rank": rank.rank, "rank_low": rank.low, "rank_high": rank.high} if rank else {}
        yield {**common, "metric": metric, **_estimate_fields(estimate), **rank_fields}


def _estimate_fields(estimate: Estimate) -> dict[str, str]:
    return {name: _number(getattr(estimate, name)) for name in ("value", "low", "high")}


def _number(value: float | None) -> str:
    return _Number("" if value is None or value != value else f"{value:.6f}")


def _safe(value: Any) -> str:
    if isinstance(value, _Number):
        return value
    text = "" if value is None else single_line(str(value).lower() if isinstance(value, bool) else value)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
