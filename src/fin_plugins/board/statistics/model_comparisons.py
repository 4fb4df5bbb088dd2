"""Two models on the same documents: McNemar's test of every pair, paired intervals of the pairs that are listed.

A column of 100 models has 4,950 pairs. All of them are tested, which is cheap, and Holm's correction is over every two
models of every column, because readers choose the pairs they look at (the best, the neighbours) by looking at the same
answers. Intervals and table rows are not cheap: a column of more than `ALL_PAIRS` models lists only the pairs with its
best model, with the baseline and the reference, and of neighbours by `MAIN_METRIC`. `paired_tests.compare` computes any
other pair from the answers.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fin_plugins.board.board_data import MAIN_METRIC, METRICS, Contrast, Estimate
from fin_plugins.board.statistics.bootstrap_column import BootstrapColumn
from fin_plugins.stats.intervals import percentile_interval
from fin_plugins.stats.paired_tests import detectable_difference, holm_correction, mcnemar_exact

ALL_PAIRS = 20
"""A column of up to this many models lists all its pairs, 190 at most."""
_CHUNK_SIZE = 50  # pairs: 8 MB at 10,000 draws


@dataclass(frozen=True)
class _Pairs:
    """All pairs of a column: indices of both models, discordant counts and p-values, shape (pairs,) each."""

    part: BootstrapColumn
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    only_first: NDArray[np.int64]
    only_second: NDArray[np.int64]
    p: NDArray[np.float64]


def compare_models(columns: Sequence[BootstrapColumn], named: Collection[str]) -> tuple[list[Contrast], int]:
    """The contrasts that a board lists, and the number of tests in Holm's correction.

    Args:
        columns: all of the board.
        named: models to list with all others: baseline and reference.
    """
    pairs = [_all_pairs(part) for part in columns]
    p = np.concatenate([column_pairs.p for column_pairs in pairs]) if pairs else np.empty(0)
    corrected = np.split(holm_correction(p), np.cumsum([len(column_pairs.p) for column_pairs in pairs])[:-1])
    contrasts = [
        contrast
        for column_pairs, p_holm in zip(pairs, corrected, strict=False)
        for contrast in _listed_contrasts(column_pairs, p_holm, named)
    ]
    return contrasts, len(p)


def _all_pairs(part: BootstrapColumn) -> _Pairs:
    correct = (part.answers == part.gold).astype(np.float32)
    both = (correct @ correct.T).astype(np.int64)  # documents that both models answered correctly
    first, second = np.triu_indices(len(correct), 1)
    totals = np.diagonal(both)
    only_first, only_second = totals[first] - both[first, second], totals[second] - both[first, second]
    return _Pairs(part, first, second, only_first, only_second, mcnemar_exact(only_first, only_second))


def _listed_contrasts(pairs: _Pairs, p_holm: NDArray[np.float64], named: Collection[str]) -> Iterator[Contrast]:
    listed = np.flatnonzero(_is_listed(pairs, named))
    for start in range(0, len(listed), _CHUNK_SIZE):
        yield from _contrasts(pairs, p_holm, listed[start : start + _CHUNK_SIZE])


def _is_listed(pairs: _Pairs, named: Collection[str]) -> NDArray[np.bool_]:
    """Which pairs are listed, shape (pairs,)."""
    models = pairs.part.models
    if len(models) <= ALL_PAIRS:
        return np.ones(len(pairs.p), dtype=bool)
    order = np.argsort(-pairs.part.joint.observed[:, METRICS.index(MAIN_METRIC)], kind="stable")
    rank = np.argsort(order)
    always = np.isin(models, list(named)) | (rank == 0)
    are_neighbours = np.abs(rank[pairs.first] - rank[pairs.second]) == 1
    return np.asarray(are_neighbours | always[pairs.first] | always[pairs.second])


def _contrasts(pairs: _Pairs, p_holm: NDArray[np.float64], listed: NDArray[np.int64]) -> Iterator[Contrast]:
    first, second = pairs.first[listed], pairs.second[listed]
    joint, models = pairs.part.joint, pairs.part.models
    low, high = percentile_interval(joint.replicates[second] - joint.replicates[first])
    ends = np.stack([joint.observed[second] - joint.observed[first], low, high], axis=-1).tolist()
    documents = len(pairs.part.gold)
    smallest = detectable_difference((pairs.only_first + pairs.only_second)[listed], documents)
    for number, (pair, estimates) in enumerate(zip(listed, ends, strict=True)):
        yield Contrast(
            column=pairs.part.column.key,
            first=models[pairs.first[pair]],
            second=models[pairs.second[pair]],
            differences={metric: Estimate(*values) for metric, values in zip(METRICS, estimates, strict=True)},
            only_first=int(pairs.only_first[pair]),
            only_second=int(pairs.only_second[pair]),
            p=float(pairs.p[pair]),
            p_holm=float(p_holm[pair]),
            detectable=float(smallest[number]),
            n=documents,
        )
