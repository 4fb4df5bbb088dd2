"""The plot of gain against loss: true to the figures, with room for labels."""

import re
from collections.abc import Sequence

import pytest

from fin_plugins.board.model import Board, Estimate, Forgetting
from fin_plugins.board.rendering import pareto
from fin_plugins.board.rendering.pareto import Plot, plot


def forgetting(model: str, gain: float | None, change: float | None, width: float | None = 0.02) -> Forgetting:
    def estimate(value: float) -> Estimate:
        return Estimate(value, None, None) if width is None else Estimate(value, value - width, value + width)

    unseen = {} if change is None else {"fin_deal": estimate(change)}
    seen = None if gain is None else estimate(gain)
    return Forgetting(model, "base", None, "gen", "weighted_f1", unseen, next(iter(unseen), None), seen, None, None)


def drawn(found: Sequence[Forgetting]) -> Plot:
    made = plot(found)
    assert made is not None
    return made


def test_points_lie_where_their_figures_are() -> None:
    made = drawn([forgetting("a", 0.1, -0.05), forgetting("b", 0.2, 0.0)])
    one, two = made.points
    assert one.x < two.x and one.y > two.y, "up is better, and an SVG counts downwards"
    assert one.x == made.x.place(0.1) and one.y == made.y.place(-0.05)
    assert one.x_ends == (made.x.place(0.08), made.x.place(0.12))
    assert made.x.place(0.1) - made.x.place(0.0) == pytest.approx(made.x.place(0.2) - made.x.place(0.1), abs=0.2)


def test_the_front_is_what_no_other_beats_in_both() -> None:
    pairs = {"a": (0.3, -0.2), "b": (0.2, -0.1), "c": (0.1, -0.15), "d": (-0.1, -0.3), "e": (0.2, -0.1)}
    made = drawn([forgetting(name, *pair) for name, pair in pairs.items()])
    assert {point.model for point in made.points if point.is_on_front} == {"a", "b", "e"}


def test_worse_than_the_baseline_in_both_is_on_no_front() -> None:
    made = drawn([forgetting("a", -0.1, -0.1)])
    assert not made.points[0].is_on_front
    steps = [float(number) for number in re.findall(r"[\d.]+", made.front)]
    assert steps == [made.x.start, made.y.place(0), made.x.place(0), made.y.start]


def test_a_model_without_both_figures_is_named_and_not_drawn() -> None:
    found = [forgetting("a", 0.1, 0.1), forgetting("b", None, 0.1), forgetting("c", 0.1, None)]
    assert drawn(found).left_out == ("b", "c") and [point.model for point in drawn(found).points] == ["a"]
    assert plot(found[1:]) is None and plot([forgetting("n", float("nan"), 0.0)]) is None


def test_without_intervals_there_are_no_whiskers() -> None:
    point = drawn([forgetting("a", 0.1, 0.1, None)]).points[0]
    assert point.x_ends is None and point.y_ends is None


def test_labels_stand_apart_and_within_the_plot() -> None:
    made = drawn([forgetting(f"model {number}", 0.1 + number / 500, -0.1 + number / 700) for number in range(6)])
    boxes = []
    for point in made.points:
        width = pareto._LETTER * len(point.label)
        left = point.label_x if point.anchor == "start" else point.label_x - width
        boxes.append((left, point.label_y - 10, left + width, point.label_y + 3))
    for number, one in enumerate(boxes):
        assert one[0] >= made.x.start and one[2] <= pareto.WIDTH
        assert not any(
            one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3] for two in boxes[:number]
        )


def test_a_long_name_is_cut() -> None:
    point = drawn([forgetting("x" * 300, 0.1, 0.1)]).points[0]
    assert point.label == "x" * 23 + "…" and point.model == "x" * 300


@pytest.mark.parametrize("size", [1e-4, 0.013, 0.2, 1.0])
def test_ticks_are_few_and_round_and_hold_zero(size: float) -> None:
    for axis in (drawn([forgetting("a", size, -size)]).x, drawn([forgetting("a", size, -size)]).y):
        assert 2 <= len(axis.ticks) <= 10 and 0.0 in axis.ticks
        assert axis.low <= -0.0 and axis.low == axis.ticks[0] and axis.high == axis.ticks[-1]
    assert drawn([forgetting("a", size, -size)]).x.high >= size


def test_every_model_of_a_board_is_drawn_or_named(made: Board) -> None:
    for protocol in ("choice", "gen"):
        found = [one for one in made.forgetting if one.protocol == protocol]
        shown = drawn(found)
        assert sorted([*shown.left_out, *(point.model for point in shown.points)]) == sorted(one.model for one in found)
