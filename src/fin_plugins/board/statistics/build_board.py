"""Computing a board from the loaded runs: the one entry point of the statistics."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import numpy as np
import scipy
from numpy.typing import NDArray

from fin_plugins import __version__
from fin_plugins.board.board_data import (
    METRICS,
    RATES,
    Board,
    Cell,
    Entry,
    Estimate,
    FloorSide,
    Forgetting,
    LoadedRuns,
    Mean,
    Protocol,
    PublishedResult,
    Rank,
)
from fin_plugins.board.published_figures import select_tasks
from fin_plugins.board.statistics.bootstrap_column import BootstrapColumn, bootstrap_column
from fin_plugins.board.statistics.group_means import GROUPS, average_groups, choose_columns, rank_models
from fin_plugins.board.statistics.model_comparisons import compare_models
from fin_plugins.board.statistics.seen_unseen import measure_forgetting, split_columns
from fin_plugins.stats.intervals import percentile_interval, wilson_interval
from fin_plugins.stats.joint_bootstrap import resample
from fin_plugins.stats.metrics import confusion
from fin_plugins.tasks.label_parser import AMBIGUOUS, MISSING

_RATE_CODES = dict(zip(RATES, (MISSING, AMBIGUOUS), strict=True))
_MANY_MISSING = 0.05


def build_board(
    runs: LoadedRuns,
    *,
    baseline: str | None = None,
    reference: str | None = None,
    unseen: Sequence[str] = (),
    published: Sequence[PublishedResult] = (),
    draws: int = 10_000,
    seed: int = 20241102,
) -> Board:
    """Compute the figures of a board. Equal arguments give an equal board.

    Args:
        runs: the loaded runs.
        baseline: model that gains and forgetting are relative to.
        reference: model whose gain on seen data sets is the yardstick, such as a multi-task fine-tune; needs a
            baseline.
        unseen: tasks that count as unseen in forgetting, regardless of their files.
        published: rows of papers; figures on tasks that were not loaded are dropped.
        draws: bootstrap replicates, at least 1.
        seed: seed of the bootstrap.

    Raises:
        ValueError: a named model or task is not among the runs.
    """
    _check_names(runs, (baseline, reference), unseen)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # most of the time, numpy and scipy release the interpreter lock
        resampled = list(pool.map(lambda column: bootstrap_column(column, draws, seed), runs.columns))
    columns = [part for part, _ in resampled]
    problems = [*runs.problems, *(problem for _, unpaired in resampled for problem in unpaired)]
    contrasts, tests = compare_models(columns, [name for name in (baseline, reference) if name is not None])
    means: list[Mean] = []
    ranks: list[Rank] = []
    forgetting: list[Forgetting] = []
    for protocol in get_args(Protocol):
        mean_columns, excluded = choose_columns(columns, protocol)
        problems += excluded
        for group in GROUPS:
            group_means = average_groups(mean_columns, group)
            means += [mean.to_mean(protocol, group) for mean in group_means]
            ranks += rank_models(group_means, protocol, group)
        if baseline is not None:
            sides, excluded = split_columns(columns, mean_columns, protocol, baseline, unseen)
            problems += excluded
            forgetting += measure_forgetting(sides, protocol, baseline, reference)
    return Board(
        columns=runs.columns,
        cells={key: cell for part in columns for key, cell in build_cells(part).items()},
        means=tuple(means),
        ranks=tuple(ranks),
        contrasts=tuple(contrasts),
        forgetting=tuple(forgetting),
        published=select_tasks(published, [column.task for column in runs.columns]),
        older=runs.older,
        problems=tuple(problems),
        made_with=_made_with(draws, seed),
        tests=tests,
    )


def build_cells(part: BootstrapColumn) -> dict[tuple[str, str], Cell]:
    """The cells of a column, by its key and model."""
    low, high = percentile_interval(part.joint.replicates)
    floors = _floors(part)
    cells = {}
    for entry in part.column.entries:
        if (index := part.indices.get(entry.model)) is not None:
            ends = zip(part.joint.observed[index].tolist(), low[index].tolist(), high[index].tolist(), strict=True)
            figures = {metric: Estimate(*values) for metric, values in zip(METRICS, ends, strict=True)}
            cell = _cell(entry, figures, floors, part.gold, part.answers[index])
        else:
            cell = _cell_without_documents(entry)
        cells[part.column.key, entry.model] = cell
    return cells


def floor_side(figure: Estimate, floor: float) -> FloorSide | None:
    """Position of the interval relative to the floor; None if it lies above, or is unknown."""
    if figure.low is None or figure.high is None or figure.low > floor:
        return None
    return "under" if figure.high < floor else "at"


def _cell(
    entry: Entry,
    figures: dict[str, Estimate],
    floors: dict[str, float],
    gold: NDArray[np.int64],
    answers: NDArray[np.int64],
) -> Cell:
    if entry.protocol == "gen":
        figures |= {rate: _rate(int((answers == code).sum()), len(answers)) for rate, code in _RATE_CODES.items()}
    sides = {metric: side for metric in METRICS if (side := floor_side(figures[metric], floors[metric]))}
    return Cell(entry, figures, floors, sides, _has_many_missing(figures), confusion(gold, answers, len(entry.labels)))


def _cell_without_documents(entry: Entry) -> Cell:
    """The reported figures, without intervals."""
    names = METRICS + (RATES if entry.protocol == "gen" else ())
    figures = {name: Estimate(entry.reported[name], None, None) for name in names if name in entry.reported}
    return Cell(entry, figures, {}, {}, _has_many_missing(figures), None)


def _rate(count: int, documents: int) -> Estimate:
    """A rate with Wilson's interval. The bootstrap interval of a zero rate would have no width."""
    return Estimate(count / documents, *wilson_interval(count, documents))


def _has_many_missing(figures: dict[str, Estimate]) -> bool:
    return "missing" in figures and figures["missing"].value > _MANY_MISSING


def _floors(part: BootstrapColumn) -> dict[str, float]:
    """Scores of a constant answer, the most frequent gold label, by metric."""
    if not part.models:
        return {}
    labels = next(len(entry.labels) for entry in part.column.entries if entry.model == part.models[0])
    constant = np.full_like(part.gold, np.bincount(part.gold).argmax())
    observed = resample(part.gold, constant[None], labels, draws=0).observed[0]
    return dict(zip(METRICS, observed.tolist(), strict=True))


def _check_names(runs: LoadedRuns, models: Iterable[str | None], tasks: Iterable[str]) -> None:
    known = {None, *(entry.model for column in runs.columns for entry in column.entries)}
    unknown = [*(set(models) - known), *(set(tasks) - {column.task for column in runs.columns})]
    if unknown:
        raise ValueError(f"not among the loaded runs: {', '.join(sorted(map(str, unknown)))}")


def _made_with(draws: int, seed: int) -> dict[str, str]:
    versions = {"fin-plugins": __version__, "numpy": np.__version__, "scipy": scipy.__version__}
    return {**versions, "draws": str(draws), "seed": str(seed)}
