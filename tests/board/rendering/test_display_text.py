"""Figures and names as text."""

import math
from dataclasses import replace

import pytest

from fin_plugins.board.board_data import Board, Estimate, Rank
from fin_plugins.board.rendering import display_text
from fin_plugins.common import markdown
from tests.board import boards


@pytest.mark.parametrize(
    ("value", "signed", "words"),
    [
        (0.7434, False, "74.3"),
        (1.0, False, "100.0"),
        (-0.018, False, "−1.8"),
        (-0.0001, False, "0.0"),
        (-0.0001, True, "0.0"),
        (0.0, True, "0.0"),
        (0.032, True, "+3.2"),
        (math.nan, False, "–"),
        (None, True, "–"),
    ],
)
def test_percent(value: float | None, signed: bool, words: str) -> None:
    assert display_text.percent(value, signed=signed) == words


def test_interval() -> None:
    assert display_text.interval(Estimate(0.5, 0.4, 0.6)) == "40.0–60.0"
    assert display_text.interval(Estimate(0.5, -0.1, 0.6)) == "−10.0 to 60.0"
    assert display_text.interval(Estimate(0.5, 0.1, 0.6), signed=True) == "+10.0 to +60.0"
    assert display_text.interval(Estimate(0.5, None, None)) == ""
    assert display_text.with_interval(Estimate(0.5, None, None)) == "50.0"
    assert display_text.with_interval(Estimate(0.5, 0.4, 0.6)) == "50.0 (40.0–60.0)"
    assert display_text.with_interval(None) == "–"


def test_a_p_value_is_never_zero() -> None:
    assert [display_text.p_value(p) for p in (0.0, 0.0004, 0.001, 0.0496, 1.0)] == [
        "< 0.001",
        "< 0.001",
        "0.001",
        "0.050",
        "1.000",
    ]


def test_rank_text() -> None:
    assert display_text.rank_text(Rank("m", "gen", "all", "acc", 2, 1, 3)) == "2 (1–3)"
    assert display_text.rank_text(Rank("m", "gen", "all", "acc", 2, 2, 2)) == "2"
    assert display_text.rank_text(Rank("m", "gen", "all", "acc", 2, None, None)) == "2"


def test_names_become_one_line_without_overrides() -> None:
    assert markdown.single_line("a\u202eb\x00\n c\udcff") == "a b c"
    assert markdown.single_line("מודל") == "מודל"
    assert display_text.date(0) == "–" and display_text.date(1_760_000_000) == "2025-10-09 08:53 UTC"


def test_main_metric(full_board: Board) -> None:
    assert display_text.main_metric(full_board) == display_text.main_metric(boards.empty()) == "weighted_f1"
    bare = {place: replace(cell, figures={"acc": cell.figures["acc"]}) for place, cell in full_board.cells.items()}
    assert display_text.main_metric(replace(full_board, cells=bare)) == "acc"


def test_data_sentence() -> None:
    published = display_text.data_sentence("real", ["fin_fpb", "fin_fomc"])
    assert published == display_text.DATA_SENTENCES["real"]
    custom, both = display_text.data_sentence("real", ["mood"]), display_text.data_sentence("real", ["fin_fpb", "mood"])
    assert "own data" in custom and "mood" in custom and not custom.startswith(published.rstrip("."))
    assert both.startswith(published.rstrip(".")) and "own data: mood" in both
    assert "2 more" in display_text.data_sentence("real", [f"mood{number}" for number in range(7)])
    assert display_text.data_sentence("sample", ["mood"]) == display_text.DATA_SENTENCES["sample"]
