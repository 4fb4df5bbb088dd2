"""Means over the data sets of a group: seen, unseen, all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fin_plugins.board.model import Mean, Protocol
from fin_plugins.board.statistics.drawn import Drawn, mean
from fin_plugins.board.statistics.sampled import Sampled

Group = Literal["seen", "unseen", "all"]
GROUPS: dict[Group, tuple[bool, ...]] = {"seen": (True,), "unseen": (False,), "all": (True, False)}


@dataclass(frozen=True)
class Averaged:
    """A model's mean with its replicates.

    Attributes:
        model: whose.
        figures: the mean.
        columns: keys of the columns it is over.
        missing: tasks of the group that the model was not run on.
    """

    model: str
    figures: Drawn
    columns: tuple[str, ...]
    missing: tuple[str, ...]


def averaged(columns: Sequence[Sampled], group: Group) -> list[Averaged]:
    """Every model's mean over a group, models in the order they first appear.

    Args:
        columns: one a task, as `grouping.columns_of_means` chooses them.
        group: which of them.
    """
    of_group = [one for one in columns if one.column.seen in GROUPS[group]]
    models = dict.fromkeys(entry.model for one in of_group for entry in one.column.entries)
    return [_averaged(of_group, model) for model in models]


def _averaged(columns: Sequence[Sampled], model: str) -> Averaged:
    found = [(one.column, one.figures(model)) for one in columns]
    known = {column.key: figures for column, figures in found if figures is not None}
    missing = tuple(column.task for column, figures in found if figures is None)
    return Averaged(model, mean(list(known.values())), tuple(known), missing)


def mean_of(one: Averaged, protocol: Protocol, group: Group) -> Mean:
    """As the board shows it."""
    return Mean(one.model, protocol, group, one.figures.estimates(), one.columns, one.missing)
