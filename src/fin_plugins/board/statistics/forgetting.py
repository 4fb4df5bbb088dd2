"""What models gained on seen data sets and lost on unseen ones, against a baseline. Formulas: docs/statistics.md."""

from collections.abc import Sequence

from fin_plugins.board.model import METRICS, Estimate, Forgetting, Protocol
from fin_plugins.board.statistics.drawn import Drawn, mean
from fin_plugins.board.statistics.sampled import Sampled
from fin_plugins.board.statistics.sides import Sides
from fin_plugins.stats.intervals import ratio


def forgetting_of(sides: Sides, protocol: Protocol, baseline: str, reference: str | None) -> list[Forgetting]:
    """One for every model that shares a column with the baseline, in the order they first appear.

    A mean is only told over all columns of its side: a model that lacks one has none. The worst change is the worst of
    those that are known.

    Args:
        sides: the columns, all with the baseline in them.
        protocol: as in the result.
        baseline: the model before.
        reference: the model whose gain on seen data sets is the measure; None for none.
    """
    columns = (*sides.seen, *sides.unseen)
    models = dict.fromkeys(entry.model for one in columns for entry in one.column.entries)
    measure = None if reference is None else _mean_change(sides.seen, baseline, reference, sides.metric)
    return [_forgetting(sides, protocol, baseline, reference, measure, model) for model in models if model != baseline]


def _forgetting(
    sides: Sides, protocol: Protocol, baseline: str, reference: str | None, measure: Drawn | None, model: str
) -> Forgetting:
    metric = sides.metric
    found = {one.column.key: _change(one, baseline, model, metric) for one in sides.unseen}
    unseen = {key: change.estimate(metric) for key, change in found.items() if change is not None}
    gain = _mean_change(sides.seen, baseline, model, metric)
    back = _mean_change(sides.unseen, baseline, model, metric)
    return Forgetting(
        model=model,
        baseline=baseline,
        reference=reference,
        protocol=protocol,
        metric=metric,
        unseen=unseen,
        worst=min(unseen, key=lambda key: unseen[key].value, default=None),
        seen_gain=None if gain is None else gain.estimate(metric),
        kept=_kept(gain, measure, METRICS.index(metric)),
        backward=None if back is None else back.estimate(metric),
    )


def _change(sampled: Sampled, baseline: str, model: str, metric: str) -> Drawn | None:
    """On one column, paired by document; None where the model has no such figure."""
    before, after = sampled.figures(baseline), sampled.figures(model)
    if before is None or after is None or not after.knows(metric):
        return None
    return after.minus(before)


def _mean_change(columns: Sequence[Sampled], baseline: str, model: str, metric: str) -> Drawn | None:
    """Over all columns of a side; None where one is lacking, or there is none at all."""
    changes = [_change(one, baseline, model, metric) for one in columns]
    known = [change for change in changes if change is not None]
    return mean(known) if known and len(known) == len(changes) else None


def _kept(gain: Drawn | None, measure: Drawn | None, place: int) -> Estimate | None:
    """Share of the reference's gain; None where that is not above 0 for sure, or cannot be told without documents."""
    if gain is None or measure is None or gain.draws is None or measure.draws is None:
        return None
    own, whole = float(gain.values[place]), float(measure.values[place])
    ends = ratio(own, whole, gain.draws[place], measure.draws[place])
    return None if ends is None else Estimate(own / whole, *ends)
