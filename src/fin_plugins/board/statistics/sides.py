"""The columns that forgetting is told from: seen on one side, unseen on the other, all with the baseline in them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fin_plugins.board.model import Problem, Protocol
from fin_plugins.board.statistics.contrasts import LEADING
from fin_plugins.board.statistics.grouping import representative
from fin_plugins.board.statistics.sampled import Sampled

_FALLBACK = "acc"


@dataclass(frozen=True)
class Sides:
    """What a protocol's forgetting is over.

    Attributes:
        seen: columns of seen data sets.
        unseen: columns of unseen ones, those named on the command line last.
        metric: weighted F1, or accuracy where one of the columns knows nothing else.
    """

    seen: tuple[Sampled, ...]
    unseen: tuple[Sampled, ...]
    metric: str


def sides_of(
    columns: Sequence[Sampled], of_means: Sequence[Sampled], protocol: Protocol, baseline: str, named: Sequence[str]
) -> tuple[Sides, list[Problem]]:
    """Choose them.

    A task in `named` counts as unseen whatever it says of itself. It is taken by the protocol at hand; one that was
    only asked the other way, as most of lm-eval's own are, is taken that way beside columns of this protocol.

    Args:
        columns: all of the board.
        of_means: those of this protocol that means are over.
        protocol: whose forgetting it is.
        baseline: a model; columns without it stay out.
        named: further unseen tasks.

    Returns:
        The columns, and what stays out.
    """
    own, lost = _with(baseline, (one for one in of_means if one.column.task not in named))
    offered = [_column_of(task, columns, protocol, either=bool(own)) for task in dict.fromkeys(named)]
    further, lost_too = _with(baseline, (one for one in offered if one is not None))
    seen = tuple(one for one in own if one.column.seen)
    unseen = (*(one for one in own if not one.column.seen), *further)
    metric = LEADING if all(_knows(one, baseline, LEADING) for one in (*seen, *unseen)) else _FALLBACK
    problems = [_left_out(one, protocol, baseline) for one in (*lost, *lost_too)] if seen or unseen else []
    return Sides(seen, unseen, metric), problems


def _column_of(task: str, columns: Sequence[Sampled], protocol: Protocol, *, either: bool) -> Sampled | None:
    """The column that stands for a task in this protocol, or in the other one where `either` will do."""
    of_task = [one for one in columns if one.column.task == task]
    same = [one for one in of_task if one.column.protocol == protocol]
    allowed = same or (of_task if either else [])
    chosen = representative(one.column for one in allowed) if allowed else None
    return next((one for one in allowed if one.column is chosen), None)


def _with(baseline: str, columns: Iterable[Sampled]) -> tuple[list[Sampled], list[Sampled]]:
    """Those in which the baseline has a figure that changes can be told from, and the others."""
    kept: list[Sampled] = []
    lost: list[Sampled] = []
    for one in columns:
        (kept if _knows(one, baseline, _FALLBACK) or _knows(one, baseline, LEADING) else lost).append(one)
    return kept, lost


def _knows(sampled: Sampled, model: str, metric: str) -> bool:
    figures = sampled.figures(model)
    return figures is not None and figures.knows(metric)


def _left_out(sampled: Sampled, protocol: Protocol, baseline: str) -> Problem:
    column = sampled.column
    said = (
        f"{column.key}: the baseline {baseline} has no figure there: left out of what was gained and lost ({protocol})"
    )
    return Problem(column.entries[0].source.file, said, False)
