"""Where intervals are drawn."""

import math

from fin_plugins.board.model import Board, Estimate
from fin_plugins.board.rendering.arrange import blocks
from fin_plugins.board.rendering.bars import scale, scale_of, scales


def test_a_bar_lies_where_its_figures_are() -> None:
    found = scale([0.0, 1.0, None, math.nan])
    bar = found.bar(Estimate(0.5, 0.25, 1.0), 0.0)
    assert bar is not None
    assert (found.low, found.high) == (-0.06, 1.06)
    assert (bar.value, bar.low, bar.width, bar.floor) == (50.0, 27.7, 66.9, 5.4)


def test_without_an_interval_there_is_no_bar() -> None:
    assert scale([0.0, 1.0]).bar(Estimate(0.5, None, None)) is None


def test_a_column_of_equal_figures_has_a_scale() -> None:
    bar = scale([0.5, 0.5]).bar(Estimate(0.5, 0.5, 0.5))
    assert bar is not None and (bar.value, bar.width) == (50.0, 0.0)
    assert scale([]).place(0.5) == 50.0


def test_differences_always_have_their_zero_in_sight() -> None:
    found = scale_of([Estimate(0.2, 0.1, 0.3), None, Estimate(0.4, None, None)])
    assert 0 < found.place(0.0) < found.place(0.1) < found.place(0.4) < 100


def test_every_mark_of_a_table_lies_within_its_column(made: Board) -> None:
    drawn = 0
    for block in blocks(made):
        for table in block.tables:
            for row in table.rows:
                for cell, found in zip(row.cells, scales(table), strict=True):
                    bar = found.bar(cell.estimate, cell.floor) if cell else None
                    if bar is not None:
                        drawn += 1
                        marks = (bar.low, bar.value, bar.low + bar.width, bar.low if bar.floor is None else bar.floor)
                        assert all(0 < mark < 100 for mark in marks)
                        assert bar.low <= bar.value <= bar.low + bar.width + 0.1
    assert drawn > 100
