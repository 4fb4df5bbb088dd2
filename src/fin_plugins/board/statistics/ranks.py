"""Places by a group's mean, and between which places a model moves when other documents are drawn."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fin_plugins.board.model import METRICS, Protocol, Rank
from fin_plugins.board.statistics.means import Averaged, Group
from fin_plugins.stats.intervals import LEVEL

_AT_ONCE = 4_000_000  # figures ordered at once: a hundred megabytes with their places


def ranks_of(averages: Sequence[Averaged], protocol: Protocol, group: Group) -> list[Rank]:
    """Every model's place by every metric, among those whose mean lacks no task and no figure.

    The interval holds the middle 95 % of a model's places over the replicates, in each of which all models are scored
    on the same drawn documents. It says how far places hang on the documents that happen to be in the test sets: not
    on seeds or prompts, and for models that are really equal, it may be too narrow as any bootstrap of ranks is (Hall
    and Miller 2009). A model without documents has no interval; the others are set against its one figure.

    Args:
        averages: of all models of the group.
        protocol: as in the result.
        group: likewise.
    """
    found = []
    for number, metric in enumerate(METRICS):
        field = [one for one in averages if not one.missing and one.figures.knows(metric)]
        if field:
            found += [Rank(one.model, protocol, group, metric, *place) for one, place in _places(field, number)]
    return found


Place = tuple[int, int | None, int | None]


def _places(field: Sequence[Averaged], metric: int) -> list[tuple[Averaged, Place]]:
    """Place, lowest and highest of each; equal figures share the better place."""
    own = places(np.array([[one.figures.values[metric] for one in field]]))[0].tolist()
    draws = max((one.figures.draws.shape[1] for one in field if one.figures.draws is not None), default=1)
    moved = np.stack([_row(one, metric, draws) for one in field], axis=1)
    parts = np.array_split(moved, max(1, moved.size // _AT_ONCE))
    low, high = _middle(np.concatenate([places(part).astype(np.int32) for part in parts]))
    ends = zip(field, own, low, high, strict=True)
    return [
        (one, (place, None, None) if one.figures.draws is None else (place, min(place, first), max(place, last)))
        for one, place, first, last in ends
    ]


def _row(one: Averaged, metric: int, draws: int) -> NDArray[np.float32]:
    if one.figures.draws is None:
        return np.full(draws, one.figures.values[metric], dtype=np.float32)
    return np.asarray(one.figures.draws[metric])


def places(figures: NDArray[np.floating]) -> NDArray[np.int64]:
    """Places of models by figures, shape (draws, models), 1 the largest; equal figures share the better place."""
    order = np.argsort(-figures, axis=1, kind="stable")
    ordered = np.take_along_axis(figures, order, axis=1)
    is_new = np.diff(ordered, axis=1, prepend=np.inf) != 0
    shared = np.maximum.accumulate(np.where(is_new, np.arange(1, figures.shape[1] + 1), 1), axis=1)
    found = np.empty_like(order)
    np.put_along_axis(found, order, shared, axis=1)
    return found


def _middle(drawn: NDArray[np.int32]) -> tuple[list[int], list[int]]:
    """The places between which the middle of the draws lies, ends included, shape (models,) each."""
    ordered, draws = np.sort(drawn, axis=0), len(drawn)
    outside = int(draws * (1 - LEVEL) / 2)
    return ordered[outside].tolist(), ordered[draws - 1 - outside].tolist()
