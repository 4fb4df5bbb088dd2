"""Means over the seen, unseen or all data sets, and the ranks of models by them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import yaml
from numpy.typing import NDArray

from fin_plugins.board.board_data import METRICS, Column, Group, Mean, Problem, Protocol, Rank
from fin_plugins.board.statistics.bootstrap_column import BootstrapColumn, Replicates, average
from fin_plugins.common.locations import task_folder
from fin_plugins.stats.intervals import LEVEL

GROUPS: dict[Group, tuple[bool, ...]] = {"seen": (True,), "unseen": (False,), "all": (True, False)}
_CHUNK_SIZE = 4_000_000  # figures ranked at once: about a hundred megabytes


@dataclass(frozen=True)
class GroupMean:
    """A model's mean over a group, with its replicates.

    Attributes:
        model: display name.
        figures: the mean.
        columns: keys of the columns averaged.
        missing: tasks of the group without a result of this model.
    """

    model: str
    figures: Replicates
    columns: tuple[str, ...]
    missing: tuple[str, ...]

    def to_mean(self, protocol: Protocol, group: Group) -> Mean:
        """The mean as the board shows it."""
        return Mean(self.model, protocol, group, self.figures.estimates(), self.columns, self.missing)


def choose_columns(
    columns: Sequence[BootstrapColumn], protocol: Protocol
) -> tuple[list[BootstrapColumn], list[Problem]]:
    """Choose one column per task for the means, among tasks that say whether they are seen.

    See `representative` for tasks with several columns. Real, sample and unknown rows are never mixed: tasks whose rows
    are of another kind than most are excluded.

    Returns:
        The columns, and a problem for each excluded task.
    """
    by_task: dict[str, list[BootstrapColumn]] = {}
    for candidate in columns:
        column = candidate.column
        if column.protocol == protocol and column.seen is not None and column.task not in _ungrouped_tasks():
            by_task.setdefault(column.task, []).append(candidate)
    chosen = [representative(candidates) for candidates in by_task.values()]
    kinds = Counter(candidate.column.conditions.data for candidate in chosen)
    kind = max(kinds, key=lambda data: (kinds[data], data == "real"), default="real")
    problems = [_excluded(part.column, kind) for part in chosen if part.column.conditions.data != kind]
    included = {id(part) for part in chosen if part.column.conditions.data == kind}
    return [part for part in columns if id(part) in included], problems


def representative(candidates: Iterable[BootstrapColumn]) -> BootstrapColumn:
    """The column that represents a task: on real rows without a limit if possible, then with the most entries."""

    def priority(candidate: BootstrapColumn) -> tuple[bool, int]:
        conditions = candidate.column.conditions
        return conditions.data == "real" and conditions.limit is None, len(candidate.column.entries)

    return max(candidates, key=priority)


def average_groups(columns: Sequence[BootstrapColumn], group: Group) -> list[GroupMean]:
    """Every model's mean over a group, models in order of first appearance.

    Args:
        columns: one per task, from `choose_columns`.
        group: the group of the columns.
    """
    group_columns = [part for part in columns if part.column.seen in GROUPS[group]]
    models = dict.fromkeys(entry.model for part in group_columns for entry in part.column.entries)
    return [_average(group_columns, model) for model in models]


def rank_models(means: Sequence[GroupMean], protocol: Protocol, group: Group) -> list[Rank]:
    """Every model's rank by every metric, among the means that lack no task and no figure.

    The interval holds the middle 95 % of a model's ranks over the replicates, each of which scores all models on the
    same documents. It says how much ranks depend on the documents in the test sets, but not on seeds or prompts; for
    models that are equal it may be too narrow, like any bootstrap of ranks (Hall and Miller 2009). A model without
    documents has no interval and enters with its one figure.

    Args:
        means: of all models of the group.
        protocol: as in the result.
        group: as in the result.
    """
    ranks = []
    for index, metric in enumerate(METRICS):
        ranked = [mean for mean in means if not mean.missing and mean.figures.has(metric)]
        if ranked:
            intervals = _rank_intervals(ranked, index)
            ranks += [Rank(mean.model, protocol, group, metric, *interval) for mean, interval in intervals]
    return ranks


def competition_ranks(figures: NDArray[np.floating]) -> NDArray[np.int64]:
    """Ranks within each row, shape (draws, models), 1 for the largest; equal figures share the better rank."""
    order = np.argsort(-figures, axis=1, kind="stable")
    ordered = np.take_along_axis(figures, order, axis=1)
    is_new = np.diff(ordered, axis=1, prepend=np.inf) != 0
    shared = np.maximum.accumulate(np.where(is_new, np.arange(1, figures.shape[1] + 1), 1), axis=1)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, shared, axis=1)
    return ranks


def _average(columns: Sequence[BootstrapColumn], model: str) -> GroupMean:
    figures = [(part.column, part.figures(model)) for part in columns]
    known = {column.key: replicates for column, replicates in figures if replicates is not None}
    missing = tuple(column.task for column, replicates in figures if replicates is None)
    return GroupMean(model, average(list(known.values())), tuple(known), missing)


def _rank_intervals(
    means: Sequence[GroupMean], metric: int
) -> list[tuple[GroupMean, tuple[int, int | None, int | None]]]:
    """Rank, lowest and highest rank of each."""
    observed = competition_ranks(np.array([[mean.figures.values[metric] for mean in means]]))[0].tolist()
    draws = max((mean.figures.draws.shape[1] for mean in means if mean.figures.draws is not None), default=1)
    figures = np.stack([_draws_of(mean, metric, draws) for mean in means], axis=1)
    chunks = np.array_split(figures, max(1, figures.size // _CHUNK_SIZE))
    low, high = _middle(np.concatenate([competition_ranks(chunk).astype(np.int32) for chunk in chunks]))
    return [
        (mean, (rank, None, None) if mean.figures.draws is None else (rank, min(rank, lowest), max(rank, highest)))
        for mean, rank, lowest, highest in zip(means, observed, low, high, strict=True)
    ]


def _draws_of(mean: GroupMean, metric: int, draws: int) -> NDArray[np.float32]:
    if mean.figures.draws is None:
        return np.full(draws, mean.figures.values[metric], dtype=np.float32)
    return np.asarray(mean.figures.draws[metric])


def _middle(ranks: NDArray[np.int32]) -> tuple[list[int], list[int]]:
    """Ends of the central interval of the draws, inclusive, shape (models,) each."""
    ordered, draws = np.sort(ranks, axis=0), len(ranks)
    outside = int(draws * (1 - LEVEL) / 2)
    return ordered[outside].tolist(), ordered[draws - 1 - outside].tolist()


@lru_cache(maxsize=1)
def _ungrouped_tasks() -> frozenset[str]:
    """Our tasks that are in no group: variants of grouped tasks, whose data would count twice."""
    folder = task_folder() / "fin"
    grouped = yaml.safe_load((folder / "_group_fin.yaml").read_text(encoding="utf-8"))["task"]
    return frozenset(file.stem for file in folder.glob("fin_*.yaml")) - frozenset(grouped)


def _excluded(column: Column, kind: str) -> Problem:
    message = (
        f"{column.task} ({column.protocol}) has {column.conditions.data} rows, but most tasks have {kind} ones: "
        "excluded from means and ranks"
    )
    return Problem(column.entries[0].source.file, message, False)
