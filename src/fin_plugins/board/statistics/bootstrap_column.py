"""The bootstrap of a column: all models on the same documents, paired by hash, with figures on every replicate."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from fin_plugins.board.board_data import METRICS, Column, Documents, Entry, Estimate, Problem
from fin_plugins.stats.intervals import percentile_interval
from fin_plugins.stats.joint_bootstrap import JointScores, resample


@dataclass(frozen=True)
class Replicates:
    """The four metrics with their bootstrap replicates, in the order of `METRICS`.

    Attributes:
        values: shape (4,); nan for a metric that was not reported.
        draws: the metrics on each replicate, shape (4, draws); None without documents.
    """

    values: NDArray[np.float64]
    draws: NDArray[np.float32] | None

    def minus(self, other: "Replicates") -> "Replicates":
        """The difference. It is paired if both come from one column, whose replicates share their documents."""
        draws = None if self.draws is None or other.draws is None else self.draws - other.draws
        return Replicates(self.values - other.values, draws)

    def has(self, metric: str) -> bool:
        """Whether the metric is known."""
        return not np.isnan(self.values[METRICS.index(metric)])

    def estimate(self, metric: str) -> Estimate:
        """A metric with its percentile interval."""
        index = METRICS.index(metric)
        if self.draws is None:
            return Estimate(float(self.values[index]), None, None)
        low, high = percentile_interval(self.draws[index])
        return Estimate(float(self.values[index]), float(low), float(high))

    def estimates(self) -> dict[str, Estimate]:
        """All known metrics with their intervals."""
        return {metric: self.estimate(metric) for metric in METRICS if self.has(metric)}


def average(parts: Sequence[Replicates]) -> Replicates:
    """The unweighted mean over columns, whose documents are drawn independently of each other."""
    values = np.mean([part.values for part in parts], axis=0)
    draws = [part.draws for part in parts if part.draws is not None]
    if len(draws) < len(parts):
        return Replicates(values, None)
    total = draws[0].copy()  # a stack of all would need as much memory again
    for column_draws in draws[1:]:
        total += column_draws
    total /= len(draws)
    return Replicates(values, total)


@dataclass(frozen=True)
class BootstrapColumn:
    """A column with the replicates of the entries that have documents.

    Attributes:
        column: the column.
        models: models with documents, in the column's order.
        gold: gold labels, shape (n,), in the order of the document hashes.
        answers: predicted labels, shape (models, n).
        joint: metrics of `models` with replicates.
    """

    column: Column
    models: tuple[str, ...]
    gold: NDArray[np.int64]
    answers: NDArray[np.int64]
    joint: JointScores

    @cached_property
    def indices(self) -> dict[str, int]:
        """Index of each model in `models`."""
        return {model: index for index, model in enumerate(self.models)}

    @cached_property
    def _reported(self) -> dict[str, dict[str, float]]:
        return {entry.model: entry.reported for entry in self.column.entries}

    def figures(self, model: str) -> Replicates | None:
        """A model's metrics: from its documents, else as reported; None if the column lacks the model."""
        if (index := self.indices.get(model)) is not None:
            return Replicates(self.joint.observed[index], self.joint.replicates[index])
        reported = self._reported.get(model)
        if reported is None:
            return None
        return Replicates(np.array([reported.get(metric, np.nan) for metric in METRICS]), None)

    def has(self, model: str, metric: str) -> bool:
        """Whether a model has this metric here."""
        figures = self.figures(model)
        return figures is not None and figures.has(metric)


@dataclass(frozen=True)
class _PairingKey:
    """Entries can be paired if label set, document hashes and gold labels are equal."""

    labels: tuple[str, ...]
    hashes: tuple[str, ...]
    gold: tuple[int, ...]


def bootstrap_column(column: Column, draws: int, seed: int) -> tuple[BootstrapColumn, list[Problem]]:
    """Resample the documents of a column.

    The replicates depend on the seed and the documents only: another model in the column changes nothing, and columns
    with the same documents share their replicates.

    Returns:
        The column, and a problem for each entry whose documents or gold labels differ from those of most others. Such
        an entry counts as one without documents.
    """
    groups: dict[_PairingKey, list[tuple[Entry, NDArray[np.int64]]]] = {}
    orders: dict[tuple[str, ...], NDArray[np.int64]] = {}
    for entry in column.entries:
        if entry.documents is not None and len(entry.documents.hashes):
            order = _hash_order(entry.documents, orders)
            key = _pairing_key(entry, entry.documents, order)
            groups.setdefault(key, []).append((entry, entry.documents.answers[order]))
    if not groups:
        return _without_documents(column, draws), []
    key, paired = max(groups.items(), key=lambda group: len(group[1]))
    unpaired = [entry for other, group in groups.items() if other is not key for entry, _ in group]
    gold, answers = np.array(key.gold), np.stack([entry_answers for _, entry_answers in paired])
    joint = resample(gold, answers, len(key.labels), draws=draws, seed=_seed_sequence(seed, key.hashes))
    models = tuple(entry.model for entry, _ in paired)
    return BootstrapColumn(column, models, gold, answers, joint), [_unpaired_problem(entry) for entry in unpaired]


def _hash_order(documents: Documents, cache: dict[tuple[str, ...], NDArray[np.int64]]) -> NDArray[np.int64]:
    """Indices that sort the hashes, computed once for runs with the same order."""
    hashes = documents.hashes
    if hashes not in cache:
        cache[hashes] = np.array(sorted(range(len(hashes)), key=hashes.__getitem__))
    return cache[hashes]


def _pairing_key(entry: Entry, documents: Documents, order: NDArray[np.int64]) -> _PairingKey:
    hashes = tuple(documents.hashes[index] for index in order.tolist())
    return _PairingKey(entry.labels, hashes, tuple(documents.gold[order].tolist()))


def _seed_sequence(seed: int, hashes: Sequence[str]) -> list[int]:
    """A separate random stream for each set of documents."""
    return [seed, int.from_bytes(sha256("\n".join(hashes).encode("utf-8", "surrogatepass")).digest()[:8], "big")]


def _without_documents(column: Column, draws: int) -> BootstrapColumn:
    empty = np.empty((0, 0), dtype=np.int64)
    joint = JointScores(np.empty((0, len(METRICS))), np.empty((0, len(METRICS), draws), dtype=np.float32))
    return BootstrapColumn(column, (), empty.ravel(), empty, joint)


def _unpaired_problem(entry: Entry) -> Problem:
    message = f"{entry.task}: documents or gold labels differ from the column's other runs: shown without intervals"
    return Problem(entry.source.file, message, False)
