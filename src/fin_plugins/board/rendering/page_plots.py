"""Plots on the page, as positions that the templates draw in SVG: interval bars, and gains against losses."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fin_plugins.board.board_data import Estimate, Forgetting
from fin_plugins.board.rendering.layout import Table
from fin_plugins.common.markdown import single_line

_BAR_MARGIN = 0.06  # of a scale's width, so that no mark is cut off
_MIN_BAR_MARGIN = 0.02  # for a column whose figures are all equal
WIDTH, HEIGHT = 680, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 24, 22, 50
_MAX_LABEL_LENGTH = 24
_CHAR_WIDTH = 6.3  # mean, in units of the plot


@dataclass(frozen=True)
class Scale:
    """A linear scale: values from `low` to `high` are drawn from `start` to `end`, with labels at the ticks."""

    low: float
    high: float
    start: float = 0.0
    end: float = 100.0
    ticks: tuple[float, ...] = ()

    def position(self, value: float) -> float:
        """Position of a value."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ends(self, estimate: Estimate) -> tuple[float, float] | None:
        """Positions of the ends of an interval; None without one."""
        if estimate.low is None or estimate.high is None:
            return None
        return self.position(estimate.low), self.position(estimate.high)

    def bar(self, estimate: Estimate, floor: float | None = None) -> "IntervalBar | None":
        """The bar of a figure; None without an interval."""
        if (ends := self.ends(estimate)) is None:
            return None
        low, high = ends
        floor_position = None if floor is None else self.position(floor)
        return IntervalBar(self.position(estimate.value), low, round(high - low, 1), floor_position)


@dataclass(frozen=True)
class IntervalBar:
    """A figure with its interval and floor, in percent of the width."""

    value: float
    low: float
    width: float
    floor: float | None


_Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Label:
    """The name of a point: its text, and the position of the end next to the point."""

    text: str
    x: float
    y: float
    is_right: bool

    @property
    def box(self) -> _Box:
        """The area of the text, estimated from its length."""
        width = _CHAR_WIDTH * len(self.text)
        left = self.x if self.is_right else self.x - width
        return left, self.y - 10, left + width, self.y + 3

    @property
    def is_outside(self) -> bool:
        """Whether the text leaves the plot."""
        left, top, right, bottom = self.box
        return left < _LEFT or right > WIDTH - 4 or top < 4 or bottom > HEIGHT - _BOTTOM


@dataclass(frozen=True)
class PlotPoint:
    """A model: its position, the ends of its intervals (None without), and its label."""

    model: str
    x: float
    y: float
    x_ends: tuple[float, float] | None
    y_ends: tuple[float, float] | None
    is_on_front: bool
    label: Label


@dataclass(frozen=True)
class Plot:
    """Gain on seen tasks against the worst change on an unseen task; `front` is the path of the Pareto front."""

    x: Scale
    y: Scale
    points: tuple[PlotPoint, ...]
    front: str
    left_out: tuple[str, ...]


def table_scales(table: Table) -> tuple[Scale, ...]:
    """A scale for each column of a table, from the lowest to the highest of its interval ends and floors."""
    scales = []
    for column in zip(*(row.cells for row in table.rows), strict=True):
        cells = [cell for cell in column if cell is not None]
        scales.append(bar_scale(end for cell in cells for end in (cell.estimate.low, cell.estimate.high, cell.floor)))
    return tuple(scales)


def difference_scale(estimates: Sequence[Estimate | None]) -> Scale:
    """A scale for differences, which includes 0."""
    known = [estimate for estimate in estimates if estimate is not None]
    return bar_scale([0.0, *(end for estimate in known for end in (estimate.low, estimate.value, estimate.high))])


def bar_scale(values: Iterable[float | None]) -> Scale:
    """A scale in percent of the width that includes all values, ignoring None and nan."""
    known = [value for value in values if value is not None and value == value]
    low, high = min(known, default=0.0), max(known, default=1.0)
    margin = max(_BAR_MARGIN * (high - low), _MIN_BAR_MARGIN)
    return Scale(low - margin, high + margin)


def plot_changes(changes: Sequence[Forgetting]) -> Plot | None:
    """The plot of gains and losses of one protocol; None if no model has both figures."""
    pairs = {change.model: pair for change in changes if (pair := _gain_and_loss(change)) is not None}
    if not pairs:
        return None
    x = _axis([end for gain, _ in pairs.values() for end in _finite_ends(gain)], _LEFT, WIDTH - _RIGHT)
    y = _axis([end for _, loss in pairs.values() for end in _finite_ends(loss)], HEIGHT - _BOTTOM, _TOP)
    front = _pareto_front([(0.0, 0.0), *((gain.value, loss.value) for gain, loss in pairs.values())])
    positions = {model: (x.position(gain.value), y.position(loss.value)) for model, (gain, loss) in pairs.items()}
    labels = _place_labels({model: _cut(single_line(model)) for model in pairs}, positions)
    points = [
        PlotPoint(
            model,
            *positions[model],
            x_ends=x.ends(gain),
            y_ends=y.ends(loss),
            is_on_front=(gain.value, loss.value) in front,
            label=labels[model],
        )
        for model, (gain, loss) in pairs.items()
    ]
    left_out = tuple(change.model for change in changes if change.model not in pairs)
    return Plot(x, y, tuple(points), _front_path(front, x, y), left_out)


def _gain_and_loss(change: Forgetting) -> tuple[Estimate, Estimate] | None:
    if change.seen_gain is None or change.worst is None or change.worst not in change.unseen:
        return None
    pair = change.seen_gain, change.unseen[change.worst]
    return pair if all(math.isfinite(estimate.value) for estimate in pair) else None


def _finite_ends(estimate: Estimate) -> list[float]:
    ends = (estimate.low, estimate.value, estimate.high)
    return [end for end in ends if end is not None and math.isfinite(end)]


def _axis(values: Sequence[float], start: float, end: float) -> Scale:
    """A scale that includes the values and 0, with a few round ticks."""
    low, high = min(0.0, *values), max(0.0, *values)
    rough_step = max(high - low, 0.02) / 5
    power = 10.0 ** math.floor(math.log10(rough_step))
    step = next((factor * power for factor in (1, 2, 5) if factor * power >= rough_step), 10 * power)
    first = math.floor(low / step)
    last = max(math.ceil(high / step), first + 1)
    ticks = tuple(round(number * step, 6) for number in range(first, last + 1))
    return Scale(ticks[0], ticks[-1], start, end, ticks)


def _pareto_front(pairs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The pairs that no other beats in one figure without being worse in the other, sorted by the first."""
    front: list[tuple[float, float]] = []
    for pair in sorted(set(pairs), reverse=True):
        if not front or pair[1] > front[-1][1]:
            front.append(pair)
    return front[::-1]


def _front_path(front: Sequence[tuple[float, float]], x: Scale, y: Scale) -> str:
    """Steps from the upper left to the lower right; any point below and left of them is dominated."""
    next_heights = [*(y.position(loss) for _, loss in front[1:]), y.start]
    steps = [f"M{x.start:g},{y.position(front[0][1]):g}"]
    steps += [f"H{x.position(gain):g}V{height:g}" for (gain, _), height in zip(front, next_heights, strict=True)]
    return "".join(steps)


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_LABEL_LENGTH else text[: _MAX_LABEL_LENGTH - 1] + "…"


def _place_labels(texts: Mapping[str, str], positions: Mapping[str, tuple[float, float]]) -> dict[str, Label]:
    """Put each label beside its point, where it overlaps as few points and labels as possible."""
    occupied = [(x - 6, y - 6, x + 6, y + 6) for x, y in positions.values()]
    labels = {}
    for model, text in texts.items():
        candidates = [
            Label(text, round(positions[model][0] + side * 9, 1), round(positions[model][1] - 9 + shift, 1), side > 0)
            for shift in (0, 18, -14, 32, -28)
            for side in (1, -1)
        ]
        labels[model] = min(
            candidates, key=lambda label: sum(_overlap(label.box, box) for box in occupied) + label.is_outside
        )
        occupied.append(labels[model].box)
    return labels


def _overlap(box: _Box, other: _Box) -> bool:
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]
