"""`board.csv`: a line for each figure, for spreadsheets and data frames. Shares are from 0 to 1."""

import csv
import io
from collections.abc import Iterator
from typing import Any

from fin_plugins.board.model import Board, Cell, Column, Estimate, Mean, Protocol, Rank
from fin_plugins.board.rendering.wording import line

FIELDS = (
    "kind",  # measured, mean, or published: a paper's own figure
    "model",
    "base",
    "column",  # of a mean: all its columns
    "group",  # of a mean: seen, unseen, all
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
    "floor_side",  # at, under; empty where the whole interval lies above
    "many_missing",
    "missing_tasks",  # of a mean over a part of its group
    "rank",
    "rank_low",
    "rank_high",
    "place",  # where a published figure stands
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def table(board: Board) -> str:
    """The text of the file. A text that a spreadsheet would take for a formula has an apostrophe before it."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, FIELDS, lineterminator="\n")
    writer.writeheader()
    for row in _rows(board):
        writer.writerow({name: _safe(value) for name, value in row.items()})
    return stream.getvalue()


def _rows(board: Board) -> Iterator[dict[str, Any]]:
    for column in board.columns:
        for entry in column.entries:
            if cell := board.cells.get((column.key, entry.model)):
                yield from _of_cell(column, cell)
    ranks = {(rank.model, rank.protocol, rank.group, rank.metric): rank for rank in board.ranks}
    data = {column.key: column.conditions.data for column in board.columns}
    for mean in board.means:
        yield from _of_mean(mean, ranks, data)
    for one in board.published:
        about = {"kind": "published", "model": f"{one.model}, {one.setting}", "place": one.place}
        for task, figures in one.figures.items():
            for metric, value in figures.items():
                yield {**about, "task": task, "metric": metric, "value": _number(value)}


def _of_cell(column: Column, cell: Cell) -> Iterator[dict[str, Any]]:
    entry, held = cell.entry, column.conditions
    about: dict[str, Any] = {"kind": "measured", "model": entry.model, "base": entry.base, "column": column.key}
    about |= {"task": column.task, "protocol": column.protocol, "seen": column.seen}
    about |= {"data": held.data, "limit": held.limit}
    for metric, estimate in cell.figures.items():
        marks = {"floor_side": cell.not_above.get(metric), "many_missing": cell.many_missing}
        floor = _number(cell.floors.get(metric))
        yield {**about, "documents": entry.n, "metric": metric, **_ends(estimate), "floor": floor, **marks}


def _of_mean(
    mean: Mean, ranks: dict[tuple[str, Protocol, str, str], Rank], data: dict[str, str]
) -> Iterator[dict[str, Any]]:
    about = {"kind": "mean", "model": mean.model, "group": mean.group, "protocol": mean.protocol}
    about |= {"column": " ".join(mean.columns), "missing_tasks": " ".join(mean.missing)}
    about["data"] = " ".join(sorted({data[key] for key in mean.columns if key in data}))
    for metric, estimate in mean.figures.items():
        rank = ranks.get((mean.model, mean.protocol, mean.group, metric))
        places = {"rank": rank.rank, "rank_low": rank.low, "rank_high": rank.high} if rank else {}
        yield {**about, "metric": metric, **_ends(estimate), **places}


def _ends(estimate: Estimate) -> dict[str, str]:
    return {name: _number(getattr(estimate, name)) for name in ("value", "low", "high")}


class _Number(str):
    """A figure as text: it may begin with a minus."""


def _number(value: float | None) -> str:
    return _Number("" if value is None or value != value else f"{value:.6f}")


def _safe(value: Any) -> str:
    if isinstance(value, _Number):
        return value
    text = "" if value is None else line(str(value).lower() if isinstance(value, bool) else value)
    return f"'{text}" if text.startswith(_FORMULA) else text
