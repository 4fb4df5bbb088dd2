"""Figures and names in words."""

import math
from dataclasses import replace

import pytest

from fin_plugins.board.model import Board, Estimate, Rank
from fin_plugins.board.rendering import wording
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
def test_shares_are_per_cent_with_one_decimal(value: float | None, signed: bool, words: str) -> None:
    assert wording.percent(value, signed=signed) == words


def test_an_interval_can_never_be_read_as_a_minus() -> None:
    assert wording.interval(Estimate(0.5, 0.4, 0.6)) == "40.0–60.0"
    assert wording.interval(Estimate(0.5, -0.1, 0.6)) == "−10.0 to 60.0"
    assert wording.interval(Estimate(0.5, 0.1, 0.6), signed=True) == "+10.0 to +60.0"
    assert wording.interval(Estimate(0.5, None, None)) == ""
    assert wording.estimated(Estimate(0.5, None, None)) == "50.0"
    assert wording.estimated(Estimate(0.5, 0.4, 0.6)) == "50.0 (40.0–60.0)"
    assert wording.estimated(None) == "–"


def test_a_p_value_is_never_zero() -> None:
    assert [wording.p_value(p) for p in (0.0, 0.0004, 0.001, 0.0496, 1.0)] == [
        "< 0.001",
        "< 0.001",
        "0.001",
        "0.050",
        "1.000",
    ]


def test_a_place_names_its_neighbours_only_where_there_are_any() -> None:
    assert wording.place(Rank("m", "gen", "all", "acc", 2, 1, 3)) == "2 (1–3)"
    assert wording.place(Rank("m", "gen", "all", "acc", 2, 2, 2)) == "2"
    assert wording.place(Rank("m", "gen", "all", "acc", 2, None, None)) == "2"


def test_names_become_one_line_without_overrides() -> None:
    assert wording.line("a\u202eb\x00\n c\udcff") == "a b c"
    assert wording.line("מודל") == "מודל"
    assert wording.date(0) == "–" and wording.date(1_760_000_000) == "2025-10-09 08:53 UTC"


def test_the_first_metric_is_one_that_is_known(made: Board) -> None:
    assert wording.main_metric(made) == wording.main_metric(boards.empty()) == "weighted_f1"
    bare = {place: replace(cell, figures={"acc": cell.figures["acc"]}) for place, cell in made.cells.items()}
    assert wording.main_metric(replace(made, cells=bare)) == "acc"


def test_a_users_own_rows_are_not_called_published() -> None:
    published = wording.data_sentence("real", ["fin_fpb", "fin_fomc"])
    assert published == wording.DATA_SENTENCES["real"]
    own, both = wording.data_sentence("real", ["mood"]), wording.data_sentence("real", ["fin_fpb", "mood"])
    assert "own data" in own and "mood" in own and not own.startswith(published.rstrip("."))
    assert both.startswith(published.rstrip(".")) and "own data: mood" in both
    assert "2 more" in wording.data_sentence("real", [f"mood{number}" for number in range(7)])
    assert wording.data_sentence("sample", ["mood"]) == wording.DATA_SENTENCES["sample"]
