"""Samplers propose the weights of the next candidate and receive its value.

A sampler depends only on the search file and the values it has received. To resume a search, a new sampler receives the
values that were logged.
"""

import itertools
from collections.abc import Callable, Generator, Mapping, Sequence

import numpy as np

from fin_plugins.common.errors import FinError
from fin_plugins.merging.search.search_config import SearchConfig, WeightRange

Weights = dict[str, float]
Proposals = Generator[Weights, float, None]
"""Yields weights; must be sent the value of the last weights, where larger is better."""

_DIGITS = 4  # weights are rounded to what somebody would type, and logged like that
_INITIAL_DEVIATION = 0.3  # of CMA-ES, as a share of the range


def propose_weights(config: SearchConfig) -> Proposals:
    """The weights of the candidates of a search, in order; endless unless the sampler is a grid."""
    return _SAMPLERS[config.sampler](config)


def equal_weights(ranges: Mapping[str, WeightRange]) -> Weights:
    """Weights of a merge without a search: an equal share for each expert, within its range."""
    share = 1 / len(ranges)
    return {name: round(min(max(share, each.low), each.high), _DIGITS) for name, each in ranges.items()}


def _random(config: SearchConfig) -> Proposals:
    ranges = config.ranges()
    yield equal_weights(ranges)
    rng = np.random.default_rng(config.seed)
    while True:
        yield _scale(rng.random(len(ranges)), ranges)


def _grid(config: SearchConfig) -> Proposals:
    ranges = config.ranges()
    for point in itertools.product(np.linspace(0, 1, config.steps or 5), repeat=len(ranges)):
        yield _scale(point, ranges)


def _cma(config: SearchConfig) -> Proposals:
    try:
        from cmaes import CMA
    except ImportError as error:
        raise FinError('sampler: cma needs cmaes: `pip install "fin-plugins[merge]"`') from error
    ranges = config.ranges()
    start = [(weight - ranges[name].low) / ranges[name].width for name, weight in equal_weights(ranges).items()]
    bounds = np.array([[0.0, 1.0]] * len(ranges))
    optimizer = CMA(mean=np.array(start), sigma=_INITIAL_DEVIATION, bounds=bounds, seed=config.seed)
    while True:
        solutions = []
        for _ in range(optimizer.population_size):
            point = optimizer.ask()
            value = yield _scale(point, ranges)
            solutions.append((point, -value))  # CMA minimizes
        optimizer.tell(solutions)


_SAMPLERS: Mapping[str, Callable[[SearchConfig], Proposals]] = {"random": _random, "grid": _grid, "cma": _cma}


def _scale(point: "Sequence[float] | np.ndarray", ranges: Mapping[str, WeightRange]) -> Weights:
    """A point of the unit cube as weights."""
    pairs = zip(ranges.items(), point, strict=True)
    return {name: round(each.low + float(share) * each.width, _DIGITS) for (name, each), share in pairs}
