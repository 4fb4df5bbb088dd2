"""The board from what was read: the one entry point of the statistics."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import get_args

import numpy as np
import scipy

from fin_plugins import __version__
from fin_plugins.board.model import Board, Forgetting, Mean, Problem, Protocol, Published, Rank, Reading
from fin_plugins.board.published import of_tasks
from fin_plugins.board.statistics.cells import cells_of
from fin_plugins.board.statistics.contrasts import contrasts_of
from fin_plugins.board.statistics.forgetting import forgetting_of
from fin_plugins.board.statistics.grouping import columns_of_means
from fin_plugins.board.statistics.means import GROUPS, averaged, mean_of
from fin_plugins.board.statistics.ranks import ranks_of
from fin_plugins.board.statistics.sampled import Sampled, sampled
from fin_plugins.board.statistics.sides import sides_of


def board_of(
    reading: Reading,
    *,
    baseline: str | None = None,
    reference: str | None = None,
    unseen: Sequence[str] = (),
    published: Sequence[Published] = (),
    draws: int = 10_000,
    seed: int = 20241102,
) -> Board:
    """Add the figures to what was read.

    Args:
        reading: what was read.
        baseline: model that forgetting is told against.
        reference: model whose gain on seen data sets is the measure, as a multi-task fine-tune; of no effect without a
            baseline.
        unseen: tasks that count as unseen in forgetting, whatever they say of themselves.
        published: rows of papers; what they scored on tasks that were not read is left out.
        draws: bootstrap replicates, at least 1.
        seed: same reading, draws and seed: same board.

    Raises:
        ValueError: If a named model or task is not in what was read.
    """
    _check(reading, (baseline, reference), unseen)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # numpy and scipy let go of the interpreter where the time goes
        drawn = list(pool.map(lambda column: sampled(column, draws, seed), reading.columns))
    columns = [one for one, _ in drawn]
    contrasts, tests = contrasts_of(columns, [name for name in (baseline, reference) if name is not None])
    parts = [_part(columns, protocol, baseline, reference, unseen) for protocol in get_args(Protocol)]
    problems = [*(found for _, found in drawn), *(part.problems for part in parts)]
    return Board(
        columns=reading.columns,
        cells={place: cell for one in columns for place, cell in cells_of(one).items()},
        means=tuple(one for part in parts for one in part.means),
        ranks=tuple(one for part in parts for one in part.ranks),
        contrasts=tuple(contrasts),
        forgetting=tuple(one for part in parts for one in part.forgetting),
        published=of_tasks(published, [column.task for column in reading.columns]),
        older=reading.older,
        problems=(*reading.problems, *(one for some in problems for one in some)),
        made_with=_made_with(draws, seed),
        tests=tests,
    )


@dataclass(frozen=True)
class _Part:
    """What is told for each protocol by itself."""

    means: list[Mean]
    ranks: list[Rank]
    forgetting: list[Forgetting]
    problems: list[Problem]


def _part(
    columns: Sequence[Sampled], protocol: Protocol, baseline: str | None, reference: str | None, unseen: Sequence[str]
) -> _Part:
    chosen, problems = columns_of_means([one.column for one in columns], protocol)
    ids = {id(column) for column in chosen}
    of_means = [one for one in columns if id(one.column) in ids]
    part = _Part([], [], [], problems)
    for group in GROUPS:
        averages = averaged(of_means, group)
        part.means.extend(mean_of(one, protocol, group) for one in averages)
        part.ranks.extend(ranks_of(averages, protocol, group))
    if baseline is not None:
        sides, left_out = sides_of(columns, of_means, protocol, baseline, unseen)
        part.problems.extend(left_out)
        part.forgetting.extend(forgetting_of(sides, protocol, baseline, reference))
    return part


def _check(reading: Reading, models: Iterable[str | None], tasks: Iterable[str]) -> None:
    """Refuse names that are not there: a board that lacks what was asked for would look like a whole one."""
    known = {None, *(entry.model for column in reading.columns for entry in column.entries)}
    unknown = [*(set(models) - known), *(set(tasks) - {column.task for column in reading.columns})]
    if unknown:
        raise ValueError(f"not in what was read: {', '.join(sorted(map(str, unknown)))}")


def _made_with(draws: int, seed: int) -> dict[str, str]:
    versions = {"fin-plugins": __version__, "numpy": np.__version__, "scipy": scipy.__version__}
    return {**versions, "draws": str(draws), "seed": str(seed)}
