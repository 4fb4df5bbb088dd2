"""A small plot of a training run: the loss and the validation metric by step. The same record, the same bytes."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fin_plugins.common.markdown import single_line
from fin_plugins.training.report.record import Record
from fin_plugins.training.report.svg import write_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FILE = "training.svg"
_INCHES = (7.0, 4.2)
_LOSS, _METRIC, _BEST = "#4269d0", "#2f7d4f", "#c8501e"
_TITLE = 80  # signs
_METRICS = {"macro_f1": "macro F1", "weighted_f1": "weighted F1", "acc": "accuracy", "mcc": "MCC"}
_REACH = 0.02  # share of the curve over which a neighbour's weight fades to 1/e


def plot(record: Record, path: Path) -> None:
    """Write the plot as SVG, whole or not at all.

    Raises:
        FinError: matplotlib is not installed, or the file cannot be written.
    """
    write_svg(lambda: draw(record), path, "train")


def draw(record: Record) -> "Figure":
    """The figure, in the style that holds: loss above, validation below where there was one."""
    from matplotlib.figure import Figure  # without pyplot, which would choose a window system and keep every figure

    checks = bool(record.validation_curve)
    figure = Figure(figsize=_INCHES, layout="constrained")
    axes = figure.subplots(1 + checks, 1, sharex=True, squeeze=False)[:, 0]
    _draw_loss(axes[0], record)
    if checks:
        _draw_validation(axes[1], record)
    axes[-1].set_xlabel("step")
    title = single_line(record.name)
    # A name may hold dollar signs, which would start a formula.
    figure.suptitle(title if len(title) <= _TITLE else title[: _TITLE - 1] + "…", fontsize=10, parse_math=False)
    return figure


def smooth(values: Sequence[float]) -> list[float]:
    """A mean of each value's neighbours on both sides, the nearer the heavier, so that it does not lag behind.

    Args:
        values: the raw curve; where a value is not finite the result is not, and no neighbour counts it.
    """
    fade = math.exp(-1 / max(1.0, _REACH * len(values)))
    before, after = _faded(values, fade), _faded(values[::-1], fade)[::-1]
    means = []
    for value, (left, left_weight), (right, right_weight) in zip(values, before, after, strict=True):
        # The value itself is in both sums.
        means.append((left + right - value) / (left_weight + right_weight - 1) if math.isfinite(value) else math.nan)
    return means


def _faded(values: Sequence[float], fade: float) -> list[tuple[float, float]]:
    """At each value, the sum of it and those before, fading with distance, and the sum of the weights."""
    sums, total, weight = [], 0.0, 0.0
    for value in values:
        finite = math.isfinite(value)
        total, weight = total * fade + (value if finite else 0.0), weight * fade + finite
        sums.append((total, weight))
    return sums


def _draw_loss(axes: "Axes", record: Record) -> None:
    steps = [point.step for point in record.loss_curve]
    losses = [_number(point.loss) for point in record.loss_curve]
    axes.plot(steps, losses, color=_LOSS, alpha=0.25, linewidth=0.9, label="loss")
    axes.plot(steps, smooth(losses), color=_LOSS, linewidth=1.6, label="smoothed")
    axes.set_ylabel("training loss (nats)")
    axes.legend(loc="upper right", ncols=2)


def _draw_validation(axes: "Axes", record: Record) -> None:
    metric = _METRICS.get(name := str((record.config["validation"] or {}).get("metric", "")), name)
    steps = [check.step for check in record.validation_curve]
    means = [_number(check.mean) for check in record.validation_curve]
    axes.plot(steps, means, color=_METRIC, marker="o", markersize=3.5, linewidth=1.4, label="mean over tasks")
    for check in record.validation_curve:
        if check.step == record.best_step:
            best = f"best: {_number(check.mean):.3f} at step {check.step}"
            axes.plot([check.step], [_number(check.mean)], "*", color=_BEST, markersize=12, label=best)
    axes.set_ylabel(f"validation {metric}", parse_math=False)
    axes.legend(loc="lower right", ncols=2)


def _number(value: float | None) -> float:
    return math.nan if value is None or not math.isfinite(value) else value
