"""The plot of what was gained against what was lost: a point a model, drawn by a template, no library needed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from fin_plugins.board.model import Estimate, Forgetting
from fin_plugins.board.rendering.wording import line

WIDTH, HEIGHT = 680, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 24, 22, 50
_LETTER = 6.3  # mean width of a letter of a label, in units of the plot
_LONGEST = 24  # letters of a label
_LABEL_HEIGHT = 13.0
_STEPS = (1, 2, 5)


@dataclass(frozen=True)
class Axis:
    """A linear scale: values from `low` to `high` lie from `start` to `end`; ticks with their places."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """Where a value lies."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


@dataclass(frozen=True)
class Point:
    """A model's mark: its place, the ends of its intervals (None: none), and its label beside it."""

    model: str
    label: str
    x: float
    y: float
    x_ends: tuple[float, float] | None
    y_ends: tuple[float, float] | None
    is_on_front: bool
    label_x: float
    label_y: float
    anchor: str


@dataclass(frozen=True)
class Plot:
    """All that the template draws; `front` is the path along the points that no other beats in both."""

    x: Axis
    y: Axis
    points: tuple[Point, ...]
    front: str
    left_out: tuple[str, ...]


@dataclass
class _Boxes:
    """What is taken: rectangles (left, top, right, bottom)."""

    taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    def is_free(self, box: tuple[float, float, float, float]) -> bool:
        inside = box[0] >= _LEFT and box[2] <= WIDTH - 4 and box[1] >= 4 and box[3] <= HEIGHT - _BOTTOM
        return inside and not any(
            box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3] for other in self.taken
        )


def plot(found: Sequence[Forgetting]) -> Plot | None:
    """The plot of models of one protocol; None where no model has both figures."""
    drawn = [(one, *pair) for one in found if (pair := _figures(one)) is not None]
    if not drawn:
        return None
    x = _axis([end for _, gain, _ in drawn for end in _ends(gain)], _LEFT, WIDTH - _RIGHT)
    y = _axis([end for _, _, loss in drawn for end in _ends(loss)], HEIGHT - _BOTTOM, _TOP)
    best = _front([(0.0, 0.0), *((gain.value, loss.value) for _, gain, loss in drawn)])
    boxes = _Boxes([_around(x.place(gain.value), y.place(loss.value)) for _, gain, loss in drawn])
    boxes.taken.append(_around(x.place(0), y.place(0)))
    points = tuple(_point(one.model, gain, loss, (x, y), best, boxes) for one, gain, loss in drawn)
    left_out = tuple(one.model for one in found if _figures(one) is None)
    return Plot(x, y, points, _path(best, x, y), left_out)


def _figures(one: Forgetting) -> tuple[Estimate, Estimate] | None:
    """Gain on seen tasks and change on the worst unseen one."""
    if one.seen_gain is None or one.worst is None or one.worst not in one.unseen:
        return None
    pair = one.seen_gain, one.unseen[one.worst]
    return pair if all(math.isfinite(estimate.value) for estimate in pair) else None


def _ends(estimate: Estimate) -> list[float]:
    ends = (estimate.low, estimate.value, estimate.high)
    return [end for end in ends if end is not None and math.isfinite(end)]


def _axis(values: Sequence[float], start: float, end: float) -> Axis:
    """An axis that holds the values and 0, with four to ten round ticks."""
    low, high = min(0.0, *values), max(0.0, *values)
    step = _step(max(high - low, 0.02) / 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    last = max(last, first + 1)
    ticks = tuple(round(number * step, 6) for number in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], start, end, ticks)


def _step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next((step * power for step in _STEPS if step * power >= rough), 10 * power)


def _front(pairs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that no other pair beats in one figure without being worse in the other; by the first, lowest first."""
    front: list[tuple[float, float]] = []
    for pair in sorted(set(pairs), reverse=True):
        if not front or pair[1] > front[-1][1]:
            front.append(pair)
    return front[::-1]


def _path(front: Sequence[tuple[float, float]], x: Axis, y: Axis) -> str:
    """Steps from the upper left to the lower right: whatever lies below and left of them is beaten."""
    below = [*(y.place(loss) for _, loss in front[1:]), y.start]
    steps = [f"M{x.start:g},{y.place(front[0][1]):g}"]
    steps += [f"H{x.place(gain):g}V{next_y:g}" for (gain, _), next_y in zip(front, below, strict=True)]
    return "".join(steps)


def _point(
    model: str,
    gain: Estimate,
    loss: Estimate,
    axes: tuple[Axis, Axis],
    front: Sequence[tuple[float, float]],
    boxes: _Boxes,
) -> Point:
    x, y = axes[0].place(gain.value), axes[1].place(loss.value)
    label = line(model)
    label = label if len(label) <= _LONGEST else label[: _LONGEST - 1] + "…"
    label_x, label_y, anchor = _label(x, y, _LETTER * len(label), boxes)
    on_front = (gain.value, loss.value) in front
    return Point(
        model, label, x, y, _whisker(gain, axes[0]), _whisker(loss, axes[1]), on_front, label_x, label_y, anchor
    )


def _whisker(estimate: Estimate, axis: Axis) -> tuple[float, float] | None:
    if estimate.low is None or estimate.high is None:
        return None
    return axis.place(estimate.low), axis.place(estimate.high)


def _around(x: float, y: float) -> tuple[float, float, float, float]:
    return x - 6, y - 6, x + 6, y + 6


def _label(x: float, y: float, width: float, boxes: _Boxes) -> tuple[float, float, str]:
    """The nearest free place for a label; where all are taken, the first."""
    places = [
        (x + side * 9, y - 9 + drop, "start" if side > 0 else "end")
        for drop in (0.0, 18.0, -14.0, 32.0, -28.0)
        for side in (1, -1)
    ]
    chosen = places[0]
    for left, base, anchor in places:
        start = left if anchor == "start" else left - width
        if boxes.is_free((start, base - _LABEL_HEIGHT + 3, start + width, base + 3)):
            chosen = left, base, anchor
            break
    start = chosen[0] if chosen[2] == "start" else chosen[0] - width
    boxes.taken.append((start, chosen[1] - _LABEL_HEIGHT + 3, start + width, chosen[1] + 3))
    return round(chosen[0], 1), round(chosen[1], 1), chosen[2]
