"""What `fin board` prints: how much was read, the top of each ranking, and what was left out."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from fin_plugins.board.board_data import MAIN_METRIC, Board, Estimate, Mean, Problem, Rank

_MAX_RANKS = 5
_MAX_LINES = 20
_MAX_NAME_LENGTH = 60


def format_summary(board: Board) -> list[str]:
    """What was read, and the top of each ranking, or of each column without rankings."""
    return [_read_line(board), "", *(_rankings(board) if board.ranks else _best_of_columns(board)), ""]


def format_problems(problems: Sequence[Problem]) -> list[str]:
    """One line per problem, `FILE: what is wrong`, errors first; a long list is cut."""
    ordered = sorted(problems, key=lambda problem: not problem.is_error)
    lines = [
        f"{'error' if problem.is_error else 'note'}: {problem.file}: {' '.join(problem.message.split())}"
        for problem in ordered[:_MAX_LINES]
    ]
    rest = len(ordered) - _MAX_LINES
    return [*lines, f"and {rest} more: board.json lists all"] if rest > 0 else lines


def summary_json(board: Board, files: Sequence[Path]) -> dict[str, Any]:
    """The summary in JSON types."""
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
        "ranks": [asdict(rank) for rank in board.ranks],
        "problems": [asdict(problem) for problem in board.problems],
    }


def _read_line(board: Board) -> str:
    entries = [entry for column in board.columns for entry in column.entries]
    models = {entry.model for entry in entries}
    parts = [_count(len(models), "model"), _count(len(board.columns), "column"), _count(len(entries), "result")]
    without = sum(entry.documents is None for entry in entries)
    parts += [f"{without} of them without samples and therefore without intervals"] if without else []
    parts += [f"{_count(len(board.older), 'older result')} left out"] if board.older else []
    parts += [_count(len(board.published), "published row")] if board.published else []
    return f"read: {', '.join(parts)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _rankings(board: Board) -> Iterator[str]:
    means = {(mean.model, mean.protocol, mean.group): mean for mean in board.means}
    ranks = [rank for rank in board.ranks if rank.metric == MAIN_METRIC]
    printed = set[tuple[str, ...]]()
    for (protocol, group), group_ranks in groupby(ranks, key=lambda rank: (rank.protocol, rank.group)):
        ordered = sorted(group_ranks, key=lambda rank: rank.rank)
        mean = means[ordered[0].model, protocol, group]
        if mean.columns in printed:  # all data sets are seen, or all unseen
            continue
        printed.add(mean.columns)
        data_sets = "all data sets" if group == "all" else f"{group} data sets"
        method = "label likelihood" if protocol == "choice" else "generation"
        yield f"{data_sets}, {method}{_sample_warning(board, mean)}: rank with interval, mean weighted F1 in %"
        yield from (_rank_line(rank, means[rank.model, protocol, group]) for rank in ordered[:_MAX_RANKS])
        if len(ordered) > _MAX_RANKS:
            yield f"  and {len(ordered) - _MAX_RANKS} more"


def _sample_warning(board: Board, mean: Mean) -> str:
    is_sample = any(column.conditions.data == "sample" for column in board.columns if column.key in mean.columns)
    return ", embedded sample rows (no benchmark)" if is_sample else ""


def _rank_line(rank: Rank, mean: Mean) -> str:
    interval = ""
    if rank.low is not None:
        interval = f"({rank.low})" if rank.low == rank.high else f"({rank.low}-{rank.high})"
    return f"  {rank.rank:>3} {interval:<9} {_percent(mean.figures[MAIN_METRIC]):<22} {_printable(rank.model)}"


def _best_of_columns(board: Board) -> Iterator[str]:
    for column in board.columns[:_MAX_LINES]:
        cells = [board.cells[column.key, entry.model] for entry in column.entries]
        figures = [(cell.figures[MAIN_METRIC], cell) for cell in cells if MAIN_METRIC in cell.figures]
        if figures:
            figure, cell = max(figures, key=lambda pair: pair[0].value)
            yield f"  {column.key:<22} {_percent(figure):<22} {_printable(cell.entry.model)}"


def _percent(figure: Estimate) -> str:
    value = f"{100 * figure.value:5.1f}"
    if figure.low is None or figure.high is None:
        return value
    return f"{value} ({100 * figure.low:.1f} to {100 * figure.high:.1f})"


def _printable(name: str) -> str:
    """The name on one line of limited width, without characters that control a terminal."""
    line = "".join(char if char.isprintable() else "?" for char in name)
    return line if len(line) <= _MAX_NAME_LENGTH else f"{line[: _MAX_NAME_LENGTH - 1]}…"
