"""Two models on the same documents: how much better is the second, and how sure is that?"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from fin_plugins.stats.bootstrap import scores_from_counts
from fin_plugins.stats.metrics import Scores, scores


@dataclass(frozen=True)
class Comparison:
    """The second model against the first.

    Attributes:
        first: scores of the first.
        second: scores of the second.
        difference: second less first.
        low: lower end of the difference's interval.
        high: upper end.
    """

    first: Scores
    second: Scores
    difference: Scores
    low: Scores
    high: Scores


def compare(
    gold: Sequence[int],
    first: Sequence[int],
    second: Sequence[int],
    n_labels: int,
    *,
    draws: int = 10_000,
    level: float = 0.95,
    seed: int = 20241102,
) -> Comparison:
    """Compare two models' answers by the paired bootstrap over documents.

    A document is its gold label and both answers, so resampling documents is one multinomial draw over the cells
    (gold, first, second): the same distribution at a small part of the cost. The interval is the percentile one.

    Args:
        gold: Gold label indices, shape (n,).
        first: The first model's answers, shape (n,); negative is outside the label set.
        second: The second model's answers, shape (n,).
        n_labels: Size of the label set.
        draws: Bootstrap replicates.
        level: Of the interval, 0 to 1.
        seed: Same answers, draws and seed: same result.

    Raises:
        ValueError: If the lengths differ, an index does not belong to the label set, or there is no document.
    """
    before, after = scores(gold, first, n_labels), scores(gold, second, n_labels)
    if not len(gold) or len(first) != len(second):
        raise ValueError(f"{len(gold)} documents with {len(first)} and {len(second)} answers: nothing to compare")
    cells, counts = np.unique(_cells(gold, first, second, n_labels), axis=0, return_counts=True)
    replicates = np.random.default_rng(seed).multinomial(len(gold), counts / len(gold), size=draws).astype(np.float64)
    one, other = (scores_from_counts(replicates, cells[:, 0], cells[:, column], n_labels) for column in (1, 2))
    tails = np.quantile(other - one, [(1 - level) / 2, (1 + level) / 2], axis=0)
    gain = Scores(*(b - a for a, b in zip(astuple(before), astuple(after), strict=True)))
    return Comparison(before, after, gain, *(Scores(*map(float, tail)) for tail in tails))


def _cells(gold: Sequence[int], first: Sequence[int], second: Sequence[int], n_labels: int) -> NDArray[np.int64]:
    """One row a document: gold, first, second; every answer outside the label set is `n_labels`."""
    found = np.stack([np.asarray(one, dtype=np.int64) for one in (gold, first, second)], axis=1)
    return np.where(found < 0, n_labels, found)
