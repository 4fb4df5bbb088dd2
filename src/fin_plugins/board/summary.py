"""What a board says on a terminal: how much was read, who leads, what was left out."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from fin_plugins.board.model import Board, Cell, Estimate, Mean, Problem, Rank

METRIC = "weighted_f1"
_PLACES = 5
_PROBLEMS = 20


def as_lines(board: Board) -> list[str]:
    """What was read, and the first places of every ranking."""
    lines = [_read(board), ""]
    lines += _ranking(board) if board.ranks else _by_column(board)
    return [*lines, ""]


def problem_lines(problems: Sequence[Problem]) -> list[str]:
    """One line a problem, `FILE: what is wrong`, errors first; where there are very many, the first of them."""
    ordered = sorted(problems, key=lambda problem: not problem.is_error)
    lines = [
        f"{'error' if problem.is_error else 'note'}: {problem.file}: {' '.join(problem.message.split())}"
        for problem in ordered[:_PROBLEMS]
    ]
    rest = len(ordered) - _PROBLEMS
    return [*lines, f"and {rest} more: board.json has them all"] if rest > 0 else lines


def as_data(board: Board, files: Sequence[Path]) -> dict[str, Any]:
    """The same as plain data, for JSON."""
    return {
        "files": [str(file) for file in files],
        "columns": [
            {
                "key": column.key,
                "task": column.task,
                "protocol": column.protocol,
                "data": column.conditions.data,
                "models": [entry.model for entry in column.entries],
            }
            for column in board.columns
        ],
        "older": len(board.older),
        "published": len(board.published),
        "ranks": [
            {"model": rank.model, "protocol": rank.protocol, "group": rank.group, "metric": rank.metric}
            | {"rank": rank.rank, "low": rank.low, "high": rank.high}
            for rank in board.ranks
        ],
        "problems": [
            {"file": problem.file, "message": problem.message, "is_error": problem.is_error}
            for problem in board.problems
        ],
    }


def _read(board: Board) -> str:
    entries = [entry for column in board.columns for entry in column.entries]
    models = {entry.model for entry in entries}
    parts = [_count(len(models), "model"), _count(len(board.columns), "column"), _count(len(entries), "result")]
    without = sum(entry.documents is None for entry in entries)
    parts += [f"{without} of them without samples, so without intervals"] if without else []
    parts += [f"{_count(len(board.older), 'older result')} left out"] if board.older else []
    parts += [_count(len(board.published), "published row")] if board.published else []
    return f"read: {', '.join(parts)}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _ranking(board: Board) -> Iterator[str]:
    means = {(mean.model, mean.protocol, mean.group): mean for mean in board.means}
    ranks = [rank for rank in board.ranks if rank.metric == METRIC]
    told = set[tuple[str, ...]]()
    for (protocol, group), places in groupby(ranks, key=lambda rank: (rank.protocol, rank.group)):
        first = sorted(places, key=lambda rank: rank.rank)
        mean = means[first[0].model, protocol, group]
        if mean.columns in told:  # all data sets are unseen ones, or seen ones
            continue
        told.add(mean.columns)
        asked = "label likelihood" if protocol == "choice" else "generation"
        yield f"{_title(group)}, {asked}{_kind(board, mean)}: place and its interval, mean weighted F1 in %"
        yield from (_place(rank, means[rank.model, protocol, group]) for rank in first[:_PLACES])
        yield from [f"  and {len(first) - _PLACES} more"] if len(first) > _PLACES else []


def _title(group: str) -> str:
    return "all data sets" if group == "all" else f"{group} data sets"


def _kind(board: Board, mean: Mean) -> str:
    kinds = {column.conditions.data for column in board.columns if column.key in mean.columns}
    return ", embedded sample rows (no benchmark)" if "sample" in kinds else ""


def _place(rank: Rank, mean: Mean) -> str:
    span = "" if rank.low is None else f"{rank.low}" if rank.low == rank.high else f"{rank.low}-{rank.high}"
    return (
        f"  {rank.rank:>3} {f'({span})' if span else '':<9} {_percent(mean.figures[METRIC]):<22} {_short(rank.model)}"
    )


def _by_column(board: Board) -> Iterator[str]:
    """Where there is nothing to rank: the best of every column."""
    for column in board.columns[:_PROBLEMS]:
        cells = [board.cells[column.key, entry.model] for entry in column.entries]
        with_figure: list[tuple[Cell, Estimate]] = [
            (cell, cell.figures[METRIC]) for cell in cells if METRIC in cell.figures
        ]
        if with_figure:
            cell, figure = max(with_figure, key=lambda pair: pair[1].value)
            yield f"  {column.key:<22} {_percent(figure):<22} {_short(cell.entry.model)}"


def _percent(figure: Estimate) -> str:
    value = f"{100 * figure.value:5.1f}"
    if figure.low is None or figure.high is None:
        return value
    return f"{value} ({100 * figure.low:.1f} to {100 * figure.high:.1f})"


def _short(name: str) -> str:
    """One line, nothing that steers a terminal, and no wider than one."""
    line = "".join(letter if letter.isprintable() else "?" for letter in name)
    return line if len(line) <= 60 else f"{line[:59]}…"
