"""Figures with their replicates: what means, changes and places are made from, so that all of them have intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fin_plugins.board.model import METRICS, Estimate
from fin_plugins.stats.intervals import percentile


@dataclass(frozen=True)
class Drawn:
    """The four metrics of something, in the order of `METRICS`.

    Attributes:
        values: shape (4,); nan where a result file did not report the metric.
        draws: the same on each replicate, shape (4, draws); None where documents are lacking.
    """

    values: NDArray[np.float64]
    draws: NDArray[np.float32] | None

    def minus(self, other: "Drawn") -> "Drawn":
        """The difference; paired where both come from one column, whose replicates share their documents."""
        draws = None if self.draws is None or other.draws is None else self.draws - other.draws
        return Drawn(self.values - other.values, draws)

    def knows(self, metric: str) -> bool:
        """Whether there is such a figure."""
        return not np.isnan(self.values[METRICS.index(metric)])

    def estimate(self, metric: str) -> Estimate:
        """One figure with its percentile interval."""
        place = METRICS.index(metric)
        if self.draws is None:
            return Estimate(float(self.values[place]), None, None)
        low, high = percentile(self.draws[place])
        return Estimate(float(self.values[place]), float(low), float(high))

    def estimates(self) -> dict[str, Estimate]:
        """All that are known, by metric."""
        return {metric: self.estimate(metric) for metric in METRICS if self.knows(metric)}


def mean(of: Sequence[Drawn]) -> Drawn:
    """The unweighted mean; documents of different columns are drawn independently of each other."""
    values = np.mean([one.values for one in of], axis=0)
    draws = [one.draws for one in of if one.draws is not None]
    return Drawn(values, _mean_draws(draws) if len(draws) == len(of) else None)


def _mean_draws(draws: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Added up one by one: a stack of all would be as large as all of them."""
    total = draws[0].copy()
    for one in draws[1:]:
        total += one
    total /= len(draws)
    return total
