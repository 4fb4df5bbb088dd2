"""Do two models get equally many documents right? Exact test, correction for many tests, and what a test could find.

Only documents count that exactly one of the two got right: `b` where it was the first, `c` where it was the second.
All functions take numbers or arrays alike.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, ndtri

_FEWEST = 6
"""With fewer documents the exact test never falls below 5 %: five of five against one is p = 2 / 2^5 = 0.0625."""


def exact(only_first: ArrayLike, only_second: ArrayLike) -> NDArray[np.float64]:
    """The exact two-sided McNemar test: p = min(1, 2 · P(X ≤ min(b, c))) with X ~ Binomial(b + c, 1/2).

    Holds at any number of documents (McNemar 1947; the exact form is the sign test), and errs to the safe side where
    the two differ on few.

    Args:
        only_first: documents that only the first got right, b.
        only_second: documents that only the second got right, c.

    Returns:
        p, 0 to 1; 1 where the two differ on no document.
    """
    one, other = np.asarray(only_first), np.asarray(only_second)
    return np.asarray(np.minimum(1.0, 2 * bdtr(np.minimum(one, other).astype(np.float64), one + other, 0.5)))


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down correction over a family of tests, whatever their dependence (Holm 1979).

    Of m tests in rising order, the i-th (from 1) becomes max over j ≤ i of min(1, (m - j + 1) · p_j). Rejecting where
    the result is at most 5 % errs in any test of the family with a probability of at most 5 %.

    Args:
        p: of each test, shape (m,).

    Returns:
        Corrected, in the same order.
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    corrected = np.empty_like(values)
    steps = (len(values) - np.arange(len(values))) * values[order]
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return corrected


def detectable(
    disagreeing: ArrayLike, documents: ArrayLike, *, level: float = 0.05, power: float = 0.8
) -> NDArray[np.float64]:
    """The smallest true difference in accuracy that a test of this size finds as often as `power` says.

    With n documents, of which a share s is right for one model only, McNemar's test finds a difference d with this
    power if d·√n = z(1 - level/2)·√s + z(power)·√(s - d²) (Connor 1987). Solved for d, that is d = k·√s with a k that
    depends on n alone. A difference cannot be larger than s: where the two disagree on less than k² of the documents,
    the answer is k², the difference of two models that disagree in one direction only.

    Args:
        disagreeing: documents that exactly one of the two got right, b + c.
        documents: n.
        level: of the test, two-sided and uncorrected.
        power: share of such comparisons that would find it.

    Returns:
        A difference in accuracy, 0 to 1; 1 for fewer than six documents, with which the exact test finds nothing.
        From the normal approximation: the exact test needs a little more, most where s·n is small.
    """
    n = np.asarray(documents, dtype=np.float64)
    alpha, beta = ndtri(1 - level / 2), ndtri(power)
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = (alpha * np.sqrt(n) + beta * np.sqrt(n - alpha**2 + beta**2)) / (n + beta**2)
        share = np.asarray(disagreeing) / n
    found = factor * np.sqrt(np.maximum(share, factor**2))
    return np.where(n < _FEWEST, 1.0, np.minimum(found, 1.0))
