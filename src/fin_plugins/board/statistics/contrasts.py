"""Two models on the same documents: McNemar's test of every pair, paired intervals of those that are shown.

A column of 100 models has 4,950 pairs. Testing them is cheap and is done for all: Holm's correction is over every two
models of every column, because which of them a reader looks at (the best, the neighbours) is decided by looking at the
same answers. Intervals and rows in a table are not cheap. So a column of more than `ALL_PAIRS` models keeps the pairs
with its best model, with the baseline and the reference, and of neighbours, by `LEADING`. Others can be had from the
answers (`stats.paired.compare`).
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fin_plugins.board.model import METRICS, Contrast, Estimate
from fin_plugins.board.statistics.sampled import Sampled
from fin_plugins.stats.intervals import percentile
from fin_plugins.stats.mcnemar import detectable, exact, holm

ALL_PAIRS = 20
"""Up to so many models, a column keeps all its pairs: 190."""
LEADING = "weighted_f1"
"""By which best and neighbours are told: the metric of the literature on these data sets."""
_AT_ONCE = 50  # pairs: 8 MB at 10,000 draws


@dataclass(frozen=True)
class _Pairs:
    """All pairs of a column: places of both models among those with documents, counts and p, shape (pairs,) each."""

    sampled: Sampled
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    only_first: NDArray[np.int64]
    only_second: NDArray[np.int64]
    p: NDArray[np.float64]


def contrasts_of(columns: Sequence[Sampled], named: Collection[str]) -> tuple[list[Contrast], int]:
    """The contrasts that a board keeps, and how many tests Holm's correction is over.

    Args:
        columns: all of the board.
        named: models that are compared with all others: baseline and reference.
    """
    pairs = [_pairs(one) for one in columns]
    p = np.concatenate([one.p for one in pairs]) if pairs else np.empty(0)
    corrected = np.split(holm(p), np.cumsum([len(one.p) for one in pairs])[:-1])
    kept = [one for pair, column in zip(pairs, corrected, strict=False) for one in _kept(pair, column, named)]
    return kept, len(p)


def _pairs(sampled: Sampled) -> _Pairs:
    """Counts of all pairs by one product: documents that both got right."""
    right = (sampled.answers == sampled.gold).astype(np.float32)
    both = (right @ right.T).astype(np.int64)
    first, second = np.triu_indices(len(right), 1)
    own = np.diagonal(both)
    only_first, only_second = own[first] - both[first, second], own[second] - both[first, second]
    return _Pairs(sampled, first, second, only_first, only_second, exact(only_first, only_second))


def _kept(pairs: _Pairs, corrected: NDArray[np.float64], named: Collection[str]) -> Iterator[Contrast]:
    chosen = np.flatnonzero(_is_kept(pairs, named))
    for start in range(0, len(chosen), _AT_ONCE):
        yield from _contrasts(pairs, corrected, chosen[start : start + _AT_ONCE])


def _is_kept(pairs: _Pairs, named: Collection[str]) -> NDArray[np.bool_]:
    """Which pairs, shape (pairs,)."""
    models = pairs.sampled.models
    if len(models) <= ALL_PAIRS:
        return np.ones(len(pairs.p), dtype=bool)
    order = np.argsort(-pairs.sampled.joint.observed[:, METRICS.index(LEADING)], kind="stable")
    place = np.argsort(order)
    singled = np.isin(models, list(named)) | (place == 0)
    is_next = np.abs(place[pairs.first] - place[pairs.second]) == 1
    return np.asarray(is_next | singled[pairs.first] | singled[pairs.second])


def _contrasts(pairs: _Pairs, corrected: NDArray[np.float64], chosen: NDArray[np.int64]) -> Iterator[Contrast]:
    """Some pairs of a column, with the intervals of their differences."""
    first, second = pairs.first[chosen], pairs.second[chosen]
    joint, models = pairs.sampled.joint, pairs.sampled.models
    low, high = percentile(joint.replicates[second] - joint.replicates[first])
    ends = np.stack([joint.observed[second] - joint.observed[first], low, high], axis=-1).tolist()
    documents = len(pairs.sampled.gold)
    least = detectable((pairs.only_first + pairs.only_second)[chosen], documents)
    for number, (pair, figures) in enumerate(zip(chosen, ends, strict=True)):
        yield Contrast(
            column=pairs.sampled.column.key,
            first=models[pairs.first[pair]],
            second=models[pairs.second[pair]],
            differences={metric: Estimate(*figure) for metric, figure in zip(METRICS, figures, strict=True)},
            only_first=int(pairs.only_first[pair]),
            only_second=int(pairs.only_second[pair]),
            p=float(pairs.p[pair]),
            p_holm=float(corrected[pair]),
            detectable=float(least[number]),
            n=documents,
        )
