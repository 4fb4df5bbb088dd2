"""Gains on seen tasks and forgetting on unseen ones, relative to a baseline. Formulas: docs (statistics)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fin_plugins.board.board_data import MAIN_METRIC, METRICS, Estimate, Forgetting, Problem, Protocol
from fin_plugins.board.statistics.bootstrap_column import BootstrapColumn, Replicates, average
from fin_plugins.board.statistics.group_means import representative
from fin_plugins.stats.intervals import fieller_interval

_FALLBACK_METRIC = "acc"


@dataclass(frozen=True)
class SeenUnseen:
    """The columns that gains and forgetting of a protocol are measured on; each has the baseline.

    Attributes:
        seen: columns of seen data sets.
        unseen: columns of unseen data sets, those named on the command line last.
        metric: weighted F1, or accuracy if a column has nothing else.
    """

    seen: tuple[BootstrapColumn, ...]
    unseen: tuple[BootstrapColumn, ...]
    metric: str


def split_columns(
    columns: Sequence[BootstrapColumn],
    mean_columns: Sequence[BootstrapColumn],
    protocol: Protocol,
    baseline: str,
    named: Sequence[str],
) -> tuple[SeenUnseen, list[Problem]]:
    """Split the columns of a protocol into seen and unseen.

    Args:
        columns: all of the board.
        mean_columns: those of this protocol that the means are over.
        protocol: the protocol.
        baseline: a model; columns without it are excluded.
        named: further unseen tasks, regardless of their files. A task without a column of this protocol counts with
            its column of the other one, as most of lm-eval's own tasks have only one.

    Returns:
        The columns, and a problem for each excluded one.
    """
    included, excluded = _partition(baseline, (part for part in mean_columns if part.column.task not in named))
    candidates = [_column_of(task, columns, protocol, any_protocol=bool(included)) for task in dict.fromkeys(named)]
    further, further_excluded = _partition(baseline, (part for part in candidates if part is not None))
    seen = tuple(part for part in included if part.column.seen)
    unseen = (*(part for part in included if not part.column.seen), *further)
    has_main_metric = all(part.has(baseline, MAIN_METRIC) for part in (*seen, *unseen))
    problems = []
    if seen or unseen:
        problems = [_excluded(part, protocol, baseline) for part in (*excluded, *further_excluded)]
    return SeenUnseen(seen, unseen, MAIN_METRIC if has_main_metric else _FALLBACK_METRIC), problems


def measure_forgetting(
    columns: SeenUnseen, protocol: Protocol, baseline: str, reference: str | None
) -> list[Forgetting]:
    """Measure every model that shares a column with the baseline, in order of first appearance.

    Mean changes are over all columns of a side: a model that lacks one has no mean change. The worst change is over the
    columns that it has.

    Args:
        columns: seen and unseen columns.
        protocol: as in the result.
        baseline: the model before fine-tuning.
        reference: the model whose gain on seen data sets is the yardstick; None for none.
    """
    both = (*columns.seen, *columns.unseen)
    models = dict.fromkeys(entry.model for part in both for entry in part.column.entries)
    yardstick = None if reference is None else _mean_change(columns.seen, baseline, reference, columns.metric)
    return [
        _forgetting(columns, protocol, baseline, reference, yardstick, model) for model in models if model != baseline
    ]


def _forgetting(
    columns: SeenUnseen,
    protocol: Protocol,
    baseline: str,
    reference: str | None,
    yardstick: Replicates | None,
    model: str,
) -> Forgetting:
    metric = columns.metric
    changes = {part.column.key: _change(part, baseline, model, metric) for part in columns.unseen}
    unseen = {key: change.estimate(metric) for key, change in changes.items() if change is not None}
    gain = _mean_change(columns.seen, baseline, model, metric)
    backward = _mean_change(columns.unseen, baseline, model, metric)
    return Forgetting(
        model=model,
        baseline=baseline,
        reference=reference,
        protocol=protocol,
        metric=metric,
        unseen=unseen,
        worst=min(unseen, key=lambda key: unseen[key].value, default=None),
        seen_gain=None if gain is None else gain.estimate(metric),
        kept=_share_of_gain(gain, yardstick, METRICS.index(metric)),
        backward=None if backward is None else backward.estimate(metric),
    )


def _change(part: BootstrapColumn, baseline: str, model: str, metric: str) -> Replicates | None:
    """Change on one column, paired by document; None if the model lacks the metric."""
    before, after = part.figures(baseline), part.figures(model)
    if before is None or after is None or not after.has(metric):
        return None
    return after.minus(before)


def _mean_change(columns: Sequence[BootstrapColumn], baseline: str, model: str, metric: str) -> Replicates | None:
    """Mean change over all columns of a side; None if one is missing or there is none."""
    changes = [_change(part, baseline, model, metric) for part in columns]
    known = [change for change in changes if change is not None]
    return average(known) if known and len(known) == len(changes) else None


def _share_of_gain(gain: Replicates | None, yardstick: Replicates | None, metric: int) -> Estimate | None:
    """Share of the reference's gain; None if that is not significantly positive, or without documents."""
    if gain is None or yardstick is None or gain.draws is None or yardstick.draws is None:
        return None
    numerator, denominator = float(gain.values[metric]), float(yardstick.values[metric])
    ends = fieller_interval(numerator, denominator, gain.draws[metric], yardstick.draws[metric])
    return None if ends is None else Estimate(numerator / denominator, *ends)


def _column_of(
    task: str, columns: Sequence[BootstrapColumn], protocol: Protocol, *, any_protocol: bool
) -> BootstrapColumn | None:
    """The column that represents a task in this protocol, or in the other one if allowed."""
    task_columns = [part for part in columns if part.column.task == task]
    candidates = [part for part in task_columns if part.column.protocol == protocol]
    if not candidates and any_protocol:
        candidates = task_columns
    return representative(candidates) if candidates else None


def _partition(
    baseline: str, columns: Iterable[BootstrapColumn]
) -> tuple[list[BootstrapColumn], list[BootstrapColumn]]:
    """The columns in which the baseline has a usable metric, and the others."""
    usable: list[BootstrapColumn] = []
    unusable: list[BootstrapColumn] = []
    for part in columns:
        is_usable = part.has(baseline, _FALLBACK_METRIC) or part.has(baseline, MAIN_METRIC)
        (usable if is_usable else unusable).append(part)
    return usable, unusable


def _excluded(part: BootstrapColumn, protocol: Protocol, baseline: str) -> Problem:
    column = part.column
    message = f"{column.key}: the baseline {baseline} has no figure there: excluded from gains and losses ({protocol})"
    return Problem(column.entries[0].source.file, message, False)
