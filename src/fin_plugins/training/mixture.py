"""Which examples an epoch has: caps, repeats, weights, all drawn by the seed."""

from collections.abc import Mapping, Sequence
from typing import TypeVar
from zlib import crc32

import numpy as np

from fin_plugins.training.config import TaskShare

Item = TypeVar("Item")


def draw(items: Sequence[Item], count: int, seed: int, name: str) -> list[Item]:
    """`count` of the items, none twice while there are others; in their own order.

    Args:
        items: at least one where `count` is not 0.
        count: how many; above the number of items every item is taken more than once.
        seed: of the run.
        name: what they are for. Each name has its own stream, so another task in the mixture changes no draw.
    """
    rng = np.random.default_rng([seed, crc32(name.encode("utf-8"))])
    whole, rest = divmod(count, len(items)) if items else (0, 0)
    chosen = sorted(rng.permutation(len(items))[:rest])
    return [*items] * whole + [items[index] for index in chosen]


def per_epoch(available: Mapping[str, int], shares: Mapping[str, TaskShare]) -> dict[str, int]:
    """How many rows of each task an epoch has.

    Args:
        available: rows of each task.
        shares: what the training file says of it. With weights, tasks stand in their proportion, as large as the task
            allows that runs out first; no task falls below one row.
    """
    most = {name: min(rows, shares[name].cap or rows) * shares[name].repeat for name, rows in available.items() if rows}
    weights = {name: weight for name in most if (weight := shares[name].weight) is not None}
    if not weights:
        return most
    scale = min(most[name] / weight for name, weight in weights.items())
    return {name: max(1, round(weight * scale)) for name, weight in weights.items()}


def take(items: Sequence[Item], share: TaskShare, count: int, seed: int, name: str) -> list[Item]:
    """`count` of a task's items: capped first, so that a repeat repeats the same rows."""
    capped = draw(items, min(len(items), share.cap or len(items)), seed, f"{name} cap")
    return draw(capped, count, seed, name)
