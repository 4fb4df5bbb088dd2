"""Positions of bars, points and labels."""

import math
import re
from collections.abc import Sequence

import pytest

from fin_plugins.board.board_data import Board, Estimate, Forgetting
from fin_plugins.board.rendering import page_plots
from fin_plugins.board.rendering.layout import build_blocks
from fin_plugins.board.rendering.page_plots import Plot, bar_scale, difference_scale, plot_changes, table_scales


def test_a_bar_lies_where_its_figures_are() -> None:
    scale = bar_scale([0.0, 1.0, None, math.nan])
    bar = scale.bar(Estimate(0.5, 0.25, 1.0), 0.0)
    assert bar is not None
    assert (scale.low, scale.high) == (-0.06, 1.06)
    assert (bar.value, bar.low, bar.width, bar.floor) == (50.0, 27.7, 66.9, 5.4)


def test_without_an_interval_there_is_no_bar() -> None:
    assert bar_scale([0.0, 1.0]).bar(Estimate(0.5, None, None)) is None


def test_a_column_of_equal_figures_has_a_scale() -> None:
    bar = bar_scale([0.5, 0.5]).bar(Estimate(0.5, 0.5, 0.5))
    assert bar is not None and (bar.value, bar.width) == (50.0, 0.0)
    assert bar_scale([]).position(0.5) == 50.0


def test_difference_scale_includes_zero() -> None:
    scale = difference_scale([Estimate(0.2, 0.1, 0.3), None, Estimate(0.4, None, None)])
    assert 0 < scale.position(0.0) < scale.position(0.1) < scale.position(0.4) < 100


def test_every_mark_of_a_table_lies_within_its_column(full_board: Board) -> None:
    bars = 0
    for block in build_blocks(full_board):
        for table in block.tables:
            for row in table.rows:
                for cell, scale in zip(row.cells, table_scales(table), strict=True):
                    bar = scale.bar(cell.estimate, cell.floor) if cell else None
                    if bar is not None:
                        bars += 1
                        marks = (bar.low, bar.value, bar.low + bar.width, bar.low if bar.floor is None else bar.floor)
                        assert all(0 < mark < 100 for mark in marks)
                        assert bar.low <= bar.value <= bar.low + bar.width + 0.1
    assert bars > 100


def forgetting(model: str, gain: float | None, change: float | None, width: float | None = 0.02) -> Forgetting:
    def estimate(value: float) -> Estimate:
        return Estimate(value, None, None) if width is None else Estimate(value, value - width, value + width)

    unseen = {} if change is None else {"fin_deal": estimate(change)}
    seen = None if gain is None else estimate(gain)
    return Forgetting(model, "base", None, "gen", "weighted_f1", unseen, next(iter(unseen), None), seen, None, None)


def plotted(changes: Sequence[Forgetting]) -> Plot:
    plot = plot_changes(changes)
    assert plot is not None
    return plot


def test_points_lie_where_their_figures_are() -> None:
    plot = plotted([forgetting("a", 0.1, -0.05), forgetting("b", 0.2, 0.0)])
    first, second = plot.points
    assert first.x < second.x and first.y > second.y, "up is better, and an SVG counts downwards"
    assert first.x == plot.x.position(0.1) and first.y == plot.y.position(-0.05)
    assert first.x_ends == (plot.x.position(0.08), plot.x.position(0.12))
    assert plot.x.position(0.1) - plot.x.position(0.0) == pytest.approx(
        plot.x.position(0.2) - plot.x.position(0.1), abs=0.2
    )


def test_the_front_is_what_no_other_beats_in_both() -> None:
    pairs = {"a": (0.3, -0.2), "b": (0.2, -0.1), "c": (0.1, -0.15), "d": (-0.1, -0.3), "e": (0.2, -0.1)}
    plot = plotted([forgetting(name, *pair) for name, pair in pairs.items()])
    assert {point.model for point in plot.points if point.is_on_front} == {"a", "b", "e"}


def test_worse_than_baseline_is_not_on_the_front() -> None:
    plot = plotted([forgetting("a", -0.1, -0.1)])
    assert not plot.points[0].is_on_front
    steps = [float(number) for number in re.findall(r"[\d.]+", plot.front)]
    assert steps == [plot.x.start, plot.y.position(0), plot.x.position(0), plot.y.start]


def test_model_without_both_figures_is_listed() -> None:
    changes = [forgetting("a", 0.1, 0.1), forgetting("b", None, 0.1), forgetting("c", 0.1, None)]
    assert plotted(changes).left_out == ("b", "c") and [point.model for point in plotted(changes).points] == ["a"]
    assert plot_changes(changes[1:]) is None and plot_changes([forgetting("n", float("nan"), 0.0)]) is None


def test_without_intervals_there_are_no_whiskers() -> None:
    point = plotted([forgetting("a", 0.1, 0.1, None)]).points[0]
    assert point.x_ends is None and point.y_ends is None


def test_labels_stand_apart_and_within_the_plot() -> None:
    plot = plotted([forgetting(f"model {number}", 0.1 + number / 500, -0.1 + number / 700) for number in range(6)])
    boxes = []
    for point in plot.points:
        boxes.append(point.label.box)
    for number, box in enumerate(boxes):
        assert box[0] >= plot.x.start and box[2] <= page_plots.WIDTH
        assert not any(
            box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]
            for other in boxes[:number]
        )


def test_a_long_name_is_cut() -> None:
    point = plotted([forgetting("x" * 300, 0.1, 0.1)]).points[0]
    assert point.label.text == "x" * 23 + "…" and point.model == "x" * 300


@pytest.mark.parametrize("size", [1e-4, 0.013, 0.2, 1.0])
def test_ticks(size: float) -> None:
    for axis in (plotted([forgetting("a", size, -size)]).x, plotted([forgetting("a", size, -size)]).y):
        assert 2 <= len(axis.ticks) <= 10 and 0.0 in axis.ticks
        assert axis.low <= -0.0 and axis.low == axis.ticks[0] and axis.high == axis.ticks[-1]
    assert plotted([forgetting("a", size, -size)]).x.high >= size


def test_every_model_is_drawn_or_listed(full_board: Board) -> None:
    for protocol in ("choice", "gen"):
        changes = [change for change in full_board.forgetting if change.protocol == protocol]
        plot = plotted(changes)
        assert sorted([*plot.left_out, *(point.model for point in plot.points)]) == sorted(
            change.model for change in changes
        )
