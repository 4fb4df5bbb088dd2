"""Where to look next: each sampler proposes weights and is told how good they were.

A sampler depends on the file alone, and on what it is told. A stopped search goes on exactly where it was by telling a
new sampler what was logged.
"""

import itertools
from collections.abc import Callable, Generator, Mapping

import numpy as np

from fin_plugins.common.errors import FinError
from fin_plugins.merging.search.config import Range, SearchConfig

Weights = dict[str, float]
Proposals = Generator[Weights, float, None]
"""Yields weights; is sent the value of the last ones, larger being better."""

_DIGITS = 4  # a weight is what stands in the study: nobody types more
_SPREAD = 0.3  # CMA-ES starts with this standard deviation, as a share of the range


def proposals(config: SearchConfig) -> Proposals:
    """The candidates of a search, in order; without end, but for a grid."""
    return _SAMPLERS[config.sampler](config)


def _random(config: SearchConfig) -> Proposals:
    yield shares(config.ranges())
    rng = np.random.default_rng(config.seed)
    ranges = config.ranges()
    while True:
        yield _scaled(rng.random(len(ranges)), ranges)


def _grid(config: SearchConfig) -> Proposals:
    ranges = config.ranges()
    for point in itertools.product(np.linspace(0, 1, config.steps or 5), repeat=len(ranges)):
        yield _scaled(point, ranges)


def _cma(config: SearchConfig) -> Proposals:
    try:
        from cmaes import CMA
    except ImportError as error:
        raise FinError('sampler: cma needs cmaes: `pip install "fin-plugins[merge]"`') from error
    ranges = config.ranges()
    start = [(weight - ranges[name].low) / _width(ranges[name]) for name, weight in shares(ranges).items()]
    bounds = np.array([[0.0, 1.0]] * len(ranges))
    optimizer = CMA(mean=np.array(start), sigma=_SPREAD, bounds=bounds, seed=config.seed)
    while True:
        told = []
        for _ in range(optimizer.population_size):
            point = optimizer.ask()
            value = yield _scaled(point, ranges)
            told.append((point, -value))  # it looks for the smallest
        optimizer.tell(told)


_SAMPLERS: Mapping[str, Callable[[SearchConfig], Proposals]] = {"random": _random, "grid": _grid, "cma": _cma}


def shares(ranges: Mapping[str, Range]) -> Weights:
    """What a merge without a search takes: one share for each expert, within its range."""
    share = 1 / len(ranges)
    return {name: round(min(max(share, each.low), each.high), _DIGITS) for name, each in ranges.items()}


def _scaled(point: "np.ndarray | tuple[float, ...]", ranges: Mapping[str, Range]) -> Weights:
    """A point of the unit cube as weights."""
    placed = zip(ranges.items(), point, strict=True)
    return {name: round(each.low + float(at) * _width(each), _DIGITS) for (name, each), at in placed}


def _width(each: Range) -> float:
    return each.high - each.low
