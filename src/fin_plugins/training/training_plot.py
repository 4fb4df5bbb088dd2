"""A plot of a training run: loss and validation metric by step."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fin_plugins.common.markdown import single_line
from fin_plugins.common.svg import write_svg
from fin_plugins.training.train_record import TrainRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FILE = "training.svg"
_FIGURE_SIZE = (7.0, 4.2)  # inches
_LOSS_COLOUR, _METRIC_COLOUR, _BEST_COLOUR = "#4269d0", "#2f7d4f", "#c8501e"
_TITLE_LENGTH = 80
_METRICS = {"macro_f1": "macro F1", "weighted_f1": "weighted F1", "acc": "accuracy", "mcc": "MCC"}
_SMOOTHING = 0.02  # fraction of the curve over which a neighbour's weight falls to 1/e


def write_training_plot(record: TrainRecord, file: Path) -> None:
    """Write the plot as SVG, atomically.

    Raises:
        FinError: matplotlib is not installed, or the file cannot be written.
    """
    write_svg(lambda: draw_training(record), file, "train")


def draw_training(record: TrainRecord) -> "Figure":
    """The figure: the loss above, the validation metric, if any, below."""
    from matplotlib.figure import Figure  # not pyplot, which needs a window system and keeps every figure

    validated = bool(record.validation_curve)
    figure = Figure(figsize=_FIGURE_SIZE, layout="constrained")
    axes = figure.subplots(1 + validated, 1, sharex=True, squeeze=False)[:, 0]
    _draw_loss(axes[0], record)
    if validated:
        _draw_validation(axes[1], record)
    axes[-1].set_xlabel("step")
    title = single_line(record.name)
    if len(title) > _TITLE_LENGTH:
        title = title[: _TITLE_LENGTH - 1] + "…"
    figure.suptitle(title, fontsize=10, parse_math=False)  # a dollar sign in a name would start a formula
    return figure


def smooth(values: Sequence[float]) -> list[float]:
    """Smooth a curve with exponential weights in both directions, so that it does not lag.

    Args:
        values: the raw curve. Values that are not finite stay so, and do not affect their neighbours.
    """
    decay = math.exp(-1 / max(1.0, _SMOOTHING * len(values)))
    before, after = _decayed_sums(values, decay), _decayed_sums(values[::-1], decay)[::-1]
    means = []
    for value, (left, left_weight), (right, right_weight) in zip(values, before, after, strict=True):
        # Both sums include the value itself.
        means.append((left + right - value) / (left_weight + right_weight - 1) if math.isfinite(value) else math.nan)
    return means


def _decayed_sums(values: Sequence[float], decay: float) -> list[tuple[float, float]]:
    """For each value the sum of it and the values before, weighted by distance, and the sum of the weights."""
    sums, total, weight = [], 0.0, 0.0
    for value in values:
        finite = math.isfinite(value)
        total, weight = total * decay + (value if finite else 0.0), weight * decay + finite
        sums.append((total, weight))
    return sums


def _draw_loss(axes: "Axes", record: TrainRecord) -> None:
    steps = [point.step for point in record.loss_curve]
    losses = [_number(point.loss) for point in record.loss_curve]
    axes.plot(steps, losses, color=_LOSS_COLOUR, alpha=0.25, linewidth=0.9, label="loss")
    axes.plot(steps, smooth(losses), color=_LOSS_COLOUR, linewidth=1.6, label="smoothed")
    axes.set_ylabel("training loss (nats)")
    axes.legend(loc="upper right", ncols=2)


def _draw_validation(axes: "Axes", record: TrainRecord) -> None:
    metric = _METRICS.get(name := str((record.config["validation"] or {}).get("metric", "")), name)
    steps = [point.step for point in record.validation_curve]
    means = [_number(point.mean) for point in record.validation_curve]
    axes.plot(steps, means, color=_METRIC_COLOUR, marker="o", markersize=3.5, linewidth=1.4, label="mean over tasks")
    for point in record.validation_curve:
        if point.step == record.best_step:
            best = f"best: {_number(point.mean):.3f} at step {point.step}"
            axes.plot([point.step], [_number(point.mean)], "*", color=_BEST_COLOUR, markersize=12, label=best)
    axes.set_ylabel(f"validation {metric}", parse_math=False)
    axes.legend(loc="lower right", ncols=2)


def _number(value: float | None) -> float:
    return math.nan if value is None or not math.isfinite(value) else value
