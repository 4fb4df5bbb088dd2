"""Two models on the same documents: the difference of their scores, and McNemar's test of their accuracies.

McNemar's test counts only documents that exactly one of the two got right: `b` for the first model, `c` for the second.
Its functions take numbers or arrays.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, ndtri

from fin_plugins.stats.bootstrap import scores_from_counts
from fin_plugins.stats.metrics import Scores, scores

_MIN_DOCUMENTS = 6
"""Below this, the exact test never reaches 5 %: five of five against one is p = 2 / 2^5 = 0.0625."""


@dataclass(frozen=True)
class PairedComparison:
    """The second model compared with the first.

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
) -> PairedComparison:
    """Compare two models' answers by the paired bootstrap over documents, with percentile intervals.

    Documents with the same gold label and the same two answers form a cell, so resampling documents is one multinomial
    draw over cells: same distribution, a small part of the cost.

    Args:
        gold: Gold label indices, shape (n,).
        first: The first model's answers, shape (n,); negative is outside the label set.
        second: The second model's answers, shape (n,).
        n_labels: Size of the label set.
        draws: Bootstrap replicates.
        level: Of the interval, 0 to 1.
        seed: Equal answers, draws and seed give equal results.

    Raises:
        ValueError: If the lengths differ, an index does not belong to the label set, or there is no document.
    """
    before, after = scores(gold, first, n_labels), scores(gold, second, n_labels)
    if not len(gold) or len(first) != len(second):
        raise ValueError(f"{len(gold)} documents with {len(first)} and {len(second)} answers: nothing to compare")
    labels = np.stack([np.asarray(indices, dtype=np.int64) for indices in (gold, first, second)], axis=1)
    labels = np.where(labels < 0, n_labels, labels)
    cells, counts = np.unique(labels, axis=0, return_counts=True)
    replicates = np.random.default_rng(seed).multinomial(len(gold), counts / len(gold), size=draws).astype(np.float64)
    scores_1, scores_2 = (scores_from_counts(replicates, cells[:, 0], cells[:, column], n_labels) for column in (1, 2))
    tails = np.quantile(scores_2 - scores_1, [(1 - level) / 2, (1 + level) / 2], axis=0)
    difference = Scores(*(b - a for a, b in zip(astuple(before), astuple(after), strict=True)))
    return PairedComparison(before, after, difference, *(Scores(*map(float, tail)) for tail in tails))


def mcnemar_exact(only_first: ArrayLike, only_second: ArrayLike) -> NDArray[np.float64]:
    """The exact two-sided McNemar test: p = min(1, 2 · P(X ≤ min(b, c))) with X ~ Binomial(b + c, 1/2).

    Valid at any number of documents, and conservative where the models differ on few (McNemar 1947; the exact form is
    the sign test).

    Args:
        only_first: documents that only the first got right, b.
        only_second: documents that only the second got right, c.

    Returns:
        p, 0 to 1; 1 where the two differ on no document.
    """
    b, c = np.asarray(only_first), np.asarray(only_second)
    return np.asarray(np.minimum(1.0, 2 * bdtr(np.minimum(b, c).astype(np.float64), b + c, 0.5)))


def holm_correction(p: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down correction over a family of tests, whatever their dependence (Holm 1979).

    Of m tests in ascending order, the i-th (from 1) becomes max over j ≤ i of min(1, (m - j + 1) · p_j). Rejecting
    where the result is at most 5 % keeps the probability of any false rejection in the family at or below 5 %.

    Args:
        p: of each test, shape (m,).

    Returns:
        Corrected p, in the same order.
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    corrected = np.empty_like(values)
    steps = (len(values) - np.arange(len(values))) * values[order]
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return corrected


def detectable_difference(
    disagreeing: ArrayLike, documents: ArrayLike, *, level: float = 0.05, power: float = 0.8
) -> NDArray[np.float64]:
    """The smallest true difference in accuracy that McNemar's test finds with the given power.

    With n documents, of which a share s is right for one model only, the test finds a difference d with this power if
    d·√n = z(1 - level/2)·√s + z(power)·√(s - d²) (Connor 1987). Solved for d, that is d = k·√s with a k that depends on
    n alone. A difference cannot exceed s: where the models disagree on less than k² of the documents, the result is k²,
    the difference of two models that disagree in one direction only.

    Args:
        disagreeing: documents that exactly one of the two got right, b + c.
        documents: n.
        level: of the test, two-sided and uncorrected.
        power: share of such comparisons that would find the difference.

    Returns:
        A difference in accuracy, 0 to 1; 1 for fewer than six documents, where the exact test finds nothing.
        From the normal approximation: the exact test needs a little more, most where s·n is small.
    """
    n = np.asarray(documents, dtype=np.float64)
    alpha, beta = ndtri(1 - level / 2), ndtri(power)
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = (alpha * np.sqrt(n) + beta * np.sqrt(n - alpha**2 + beta**2)) / (n + beta**2)
        share = np.asarray(disagreeing) / n
    difference = factor * np.sqrt(np.maximum(share, factor**2))
    return np.where(n < _MIN_DOCUMENTS, 1.0, np.minimum(difference, 1.0))
