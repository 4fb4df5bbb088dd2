"""Confidence intervals: of replicated figures, of a share, and of a ratio of two uncertain figures."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

LEVEL = 0.95
_AT_ONCE = 4_000_000  # replicates sorted at once, 16 MB


def percentile_interval(
    replicates: NDArray[Any], level: float = LEVEL
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The interval that holds the middle `level` of the replicates.

    Equal to `numpy.quantile`, but sorting 32-bit figures is several times as fast.

    Args:
        replicates: shape (…, draws), without nan; at least one draw.
        level: 0 to 1.

    Returns:
        Lower and upper ends, shape (…).
    """
    shape, draws = replicates.shape[:-1], replicates.shape[-1]
    rows = replicates.reshape(-1, draws)
    size = max(1, _AT_ONCE // draws)
    parts = [_ends(np.sort(rows[start : start + size], axis=1), level) for start in range(0, len(rows), size)]
    ends = np.concatenate(parts) if parts else np.empty((0, 2))
    return ends[:, 0].reshape(shape), ends[:, 1].reshape(shape)


def _ends(ordered: NDArray[Any], level: float) -> NDArray[np.float64]:
    """Both ends, shape (rows, 2), interpolated between neighbours."""
    places = np.array([(1 - level) / 2, (1 + level) / 2]) * (ordered.shape[1] - 1)
    below = np.floor(places).astype(np.int64)
    above = np.ceil(places).astype(np.int64)
    first, second = ordered[:, below].astype(np.float64), ordered[:, above].astype(np.float64)
    return np.asarray(first + (places - below) * (second - first))


def wilson_interval(count: int, documents: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's interval of a share (Wilson 1927), for shares near 0 or 1.

    With p = count / n it is (p + z²/2n ± z·√(p(1-p)/n + z²/4n²)) / (1 + z²/n). A bootstrap would give 0 to 0 for 0 of
    1,000 documents, although a true share of 4 in 1,000 is quite possible.

    Args:
        count: documents counted in the share.
        documents: n, at least 1.
        level: 0 to 1.

    Returns:
        Lower and upper end, 0 to 1.
    """
    z, share = float(ndtri((1 + level) / 2)), count / documents
    middle = share + z**2 / (2 * documents)
    reach = z * float(np.sqrt(share * (1 - share) / documents + z**2 / (4 * documents**2)))
    scale = 1 + z**2 / documents
    low, high = (middle - reach) / scale, (middle + reach) / scale
    return (low if count else 0.0), (high if count < documents else 1.0)


def fieller_interval(
    numerator: float,
    denominator: float,
    numerator_draws: NDArray[Any],
    denominator_draws: NDArray[Any],
    level: float = LEVEL,
) -> tuple[float, float] | None:
    """Fieller's interval of a ratio (Fieller 1954), from paired replicates of numerator a and denominator b.

    It holds every x for which a - x·b is within chance of 0: (a - x·b)² ≤ z²·(Vaa - 2x·Vab + x²·Vbb), V the replicates'
    variances and covariance. Quotients of the replicates would not do: they explode where a denominator is near 0.

    Returns:
        Lower and upper end; None if b is not significantly above 0 (b ≤ z·√Vbb), because then no end exists.
    """
    z = float(ndtri((1 + level) / 2))
    (vaa, vab), (_, vbb) = np.cov(numerator_draws.astype(np.float64), denominator_draws.astype(np.float64))
    if denominator <= z * float(np.sqrt(vbb)):
        return None
    square = denominator**2 - z**2 * vbb
    linear = numerator * denominator - z**2 * vab
    constant = numerator**2 - z**2 * vaa
    reach = float(np.sqrt(max(0.0, linear**2 - square * constant)))  # below 0 by rounding only
    return float((linear - reach) / square), float((linear + reach) / square)
