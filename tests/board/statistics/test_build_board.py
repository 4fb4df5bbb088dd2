"""Boards are deterministic and complete; cells agree with scikit-learn."""

from dataclasses import asdict

import numpy as np
import pytest

from fin_plugins.board.board_data import METRICS, RATES, Cell, Column, Estimate, LoadedRuns, Problem, PublishedResult
from fin_plugins.board.statistics.build_board import build_board, build_cells
from fin_plugins.stats.metrics import confusion, majority_floor, scores
from fin_plugins.tasks.label_parser import AMBIGUOUS, MISSING
from tests.board.statistics.column_factories import column, draw, entry, reading, shuffled, with_entries

SKILLS = {"base": 0.45, "multi": 0.7, "one": 0.6}


def columns():
    seen = [
        column(SKILLS, task, protocol=way, key=f"{task}_{way}")
        for task in ("fin_fpb", "fin_fomc")
        for way in ("choice", "gen")
    ]
    return (*seen, column(SKILLS, "fin_deal", seen=False, labels=2), column(SKILLS, "hellaswag", seen=None))


def test_the_same_results_give_the_same_board() -> None:
    options = {"baseline": "base", "reference": "multi", "unseen": ["hellaswag"], "draws": 300}
    reordered = [with_entries(first, *(shuffled(entry) for entry in first.entries)) for first in columns()]
    first, again, shuffled_board = (
        build_board(reading(*board_columns), **options) for board_columns in (columns(), columns(), reordered)
    )
    for part in ("means", "ranks", "contrasts", "forgetting", "problems", "made_with", "tests"):
        assert repr(getattr(first, part)) == repr(getattr(again, part)) == repr(getattr(shuffled_board, part))
    assert {place: cell.figures for place, cell in first.cells.items()} == {
        place: cell.figures for place, cell in shuffled_board.cells.items()
    }
    assert build_board(reading(*columns()), **options, seed=2).means != first.means


def test_every_part_is_there() -> None:
    board = build_board(reading(*columns()), baseline="base", draws=100)
    assert len(board.cells) == 6 * 3 and board.tests == len(board.contrasts) == 6 * 3
    assert {(record.protocol, record.group) for record in board.means} == {
        *(("choice", group) for group in ("seen", "unseen", "all")),
        *(("gen", group) for group in ("seen", "all")),
    }
    assert {(record.protocol, record.model) for record in board.forgetting} == {
        (way, model) for way in ("choice", "gen") for model in ("multi", "one")
    }
    assert not any("hellaswag" in record.columns for record in board.means)
    assert board.made_with.keys() == {"fin-plugins", "numpy", "scipy", "draws", "seed"}


def test_loaded_runs_are_passed_on() -> None:
    problem, row = (
        Problem("broken.json", "cut off", True),
        PublishedResult("P", "zero-shot", {"fin_fomc": {"acc": 0.5}}, "table 1"),
    )
    older = columns()[0].entries[:1]
    reordered = (
        column(SKILLS, "fin_fpb"),
        column(SKILLS, "fin_fomc"),
        column(SKILLS, "fin_deal", seen=False, data="sample"),
    )
    board = build_board(LoadedRuns(reordered, older, (problem,)), published=[row], draws=50)
    assert (board.columns, board.older, board.published) == (reordered, older, (row,))
    assert board.problems[0] is problem and "fin_deal" in board.problems[1].message and len(board.problems) == 2


def test_published_rows_are_reduced_to_loaded_tasks() -> None:
    figures = {"fin_fpb": {"acc": 0.5}, "fin_deal": {"acc": 0.6}}
    rows = [
        PublishedResult("P", "zero-shot", figures, "table 1"),
        PublishedResult("Q", "tuned", {"fin_deal": {"acc": 1.0}}, ""),
    ]
    board = build_board(LoadedRuns((column(SKILLS, "fin_fpb"),), (), ()), published=rows, draws=50)
    assert [(row.model, row.figures) for row in board.published] == [("P", {"fin_fpb": {"acc": 0.5}})]
    cut_alike = PublishedResult("P", "tuned", {"fin_fpb_paper": {"acc": 0.5}}, "")
    assert build_board(LoadedRuns((column(SKILLS, "fin_fpb"),), (), ()), published=[cut_alike], draws=50).published
    custom = build_board(LoadedRuns((column(SKILLS, "mood"),), (), ()), published=rows, draws=50)
    assert custom.published == ()


def test_empty_board() -> None:
    board = build_board(LoadedRuns((), (), ()))
    assert (board.cells, board.means, board.contrasts, board.tests) == ({}, (), (), 0)


@pytest.mark.parametrize("wrong", [{"baseline": "bass"}, {"reference": "mult"}, {"unseen": ["hellaswags"]}])
def test_unknown_names_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match="not among the loaded runs"):
        build_board(reading(*columns()), **wrong)


def cells(of: Column) -> dict[str, Cell]:
    return {model: cell for (key, model), cell in build_cells(draw(of)).items() if key == of.key}


@pytest.mark.parametrize("labels", [2, 3, 29])
def test_figures_and_floors_equal_sklearn(labels: int) -> None:
    original = column({"a": 0.4, "b": 0.7}, labels=labels)
    cells_by_model = cells(with_entries(original, original.entries[0], shuffled(original.entries[1])))
    for model_entry in original.entries:
        assert model_entry.documents is not None
        pairs = model_entry.documents.gold.tolist(), model_entry.documents.answers.tolist(), labels
        cell = cells_by_model[model_entry.model]
        assert {name: cell.figures[name].value for name in METRICS} == pytest.approx(asdict(scores(*pairs)))
        assert cell.floors == pytest.approx(asdict(majority_floor(pairs[0], labels)))
        assert np.array_equal(cell.confusion, confusion(*pairs))
        for figure in cell.figures.values():
            assert figure.low < figure.value < figure.high
        assert cell.figures.keys() == set(METRICS)  # a choice is never missing


def test_rates() -> None:
    original = column({"a": 0.5}, protocol="gen")
    gold = np.zeros(100, dtype=np.int64)
    answers = np.array([0] * 90 + [MISSING] * 6 + [1] * 4)
    cell = cells(with_entries(original, entry("a", gold, answers, original.conditions, protocol="gen")))["a"]
    assert cell.figures.keys() == {*METRICS, *RATES}
    assert cell.figures["missing"] == Estimate(0.06, pytest.approx(0.0278, abs=1e-4), pytest.approx(0.1248, abs=1e-4))
    assert cell.figures["ambiguous"] == Estimate(0.0, 0.0, pytest.approx(0.037, abs=1e-4))
    assert cell.many_missing


@pytest.mark.parametrize(("code", "count", "many"), [(MISSING, 5, False), (MISSING, 6, True), (AMBIGUOUS, 50, False)])
def test_many_missing(code: int, count: int, many: bool) -> None:
    original = column({"a": 0.5}, protocol="gen")
    answers = np.array([code] * count + [0] * (100 - count))
    model_entry = entry("a", np.arange(100) % 3, answers, original.conditions, protocol="gen")
    assert cells(with_entries(original, model_entry))["a"].many_missing is many


def test_floor_sides() -> None:
    original = column({"good": 0.9, "other": 0.5})
    gold = original.entries[0].documents.gold
    constant = np.full_like(gold, np.bincount(gold).argmax())
    cells_by_model = cells(
        with_entries(original, *original.entries, entry("constant", gold, constant, original.conditions))
    )
    assert cells_by_model["good"].floor_sides == {}
    assert cells_by_model["constant"].floor_sides == dict.fromkeys(METRICS, "at")
    worse = entry("worse", gold, (constant + 1) % 3, original.conditions)
    assert cells_by_model["constant"].figures["mcc"].value == 0
    assert cells(with_entries(original, original.entries[0], worse))["worse"].floor_sides == {
        **dict.fromkeys(METRICS, "under"),
        "mcc": "at",
    }


def test_cell_without_documents() -> None:
    cells_by_model = cells(column({"a": 0.4, "b": 0.7}, bare=["a"]))
    assert cells_by_model["a"].figures["weighted_f1"] == Estimate(0.5, None, None)
    assert (cells_by_model["a"].floors, cells_by_model["a"].floor_sides, cells_by_model["a"].confusion) == (
        {},
        {},
        None,
    )
    assert cells_by_model["b"].confusion is not None
