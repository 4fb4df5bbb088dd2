"""Intervals drawn as bars: where on its column's own scale a figure, its interval and the floor lie."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fin_plugins.board.model import Estimate
from fin_plugins.board.rendering.arrange import Shown, Table

_MARGIN = 0.06  # of the scale's width, so that no mark is cut off
_NARROWEST = 0.02  # a column whose figures are all the same


@dataclass(frozen=True)
class Bar:
    """Places in per cent of the width."""

    value: float
    low: float
    width: float
    floor: float | None


@dataclass(frozen=True)
class Scale:
    """From the lowest to the highest of a column's ends and floors."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """In per cent of the width."""
        return round(100 * (value - self.low) / (self.high - self.low), 1)

    def bar(self, estimate: Estimate, floor: float | None = None) -> Bar | None:
        """The bar of a figure; None where it has no interval."""
        if estimate.low is None or estimate.high is None:
            return None
        low, high = self.place(estimate.low), self.place(estimate.high)
        return Bar(self.place(estimate.value), low, round(high - low, 1), None if floor is None else self.place(floor))


def scale(values: Iterable[float | None]) -> Scale:
    """The scale on which all the values that are numbers can be drawn."""
    known = [value for value in values if value is not None and value == value]
    low, high = min(known, default=0.0), max(known, default=1.0)
    margin = max(_MARGIN * (high - low), _NARROWEST)
    return Scale(low - margin, high + margin)


def scales(table: Table) -> tuple[Scale, ...]:
    """A scale for each of the table's heads."""
    return tuple(_scale_of([row.cells[place] for row in table.rows]) for place in range(len(table.heads)))


def scale_of(estimates: Sequence[Estimate | None]) -> Scale:
    """A scale that holds figures, intervals and 0, for differences."""
    shown = [one for one in estimates if one is not None]
    return scale([0.0, *(end for one in shown for end in (one.low, one.value, one.high))])


def _scale_of(cells: Sequence[Shown | None]) -> Scale:
    shown = [cell for cell in cells if cell is not None]
    return scale(end for cell in shown for end in (cell.estimate.low, cell.estimate.high, cell.floor))
