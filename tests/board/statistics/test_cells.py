"""A cell's figures against scikit-learn, its rates, floors and marks."""

from dataclasses import asdict

import numpy as np
import pytest

from fin_plugins.board.model import METRICS, RATES, Cell, Column, Estimate
from fin_plugins.board.statistics.cells import cells_of
from fin_plugins.stats.metrics import confusion, majority_floor, scores
from fin_plugins.tasks.parser import AMBIGUOUS, MISSING
from tests.board.statistics.worlds import column, draw, entry, shuffled, with_entries


def cells(of: Column) -> dict[str, Cell]:
    return {model: cell for (key, model), cell in cells_of(draw(of)).items() if key == of.key}


@pytest.mark.parametrize("labels", [2, 3, 29])
def test_figures_and_floors_equal_sklearn(labels: int) -> None:
    whole = column({"a": 0.4, "b": 0.7}, labels=labels)
    found = cells(with_entries(whole, whole.entries[0], shuffled(whole.entries[1])))
    for one in whole.entries:
        assert one.documents is not None
        pairs = one.documents.gold.tolist(), one.documents.answers.tolist(), labels
        cell = found[one.model]
        assert {name: cell.figures[name].value for name in METRICS} == pytest.approx(asdict(scores(*pairs)))
        assert cell.floors == pytest.approx(asdict(majority_floor(pairs[0], labels)))
        assert np.array_equal(cell.confusion, confusion(*pairs))
        for figure in cell.figures.values():
            assert figure.low < figure.value < figure.high
        assert cell.figures.keys() == set(METRICS)  # a choice is never missing


def test_rates_are_of_generation_and_never_certain() -> None:
    whole = column({"a": 0.5}, protocol="gen")
    gold = np.zeros(100, dtype=np.int64)
    answers = np.array([0] * 90 + [MISSING] * 6 + [1] * 4)
    found = cells(with_entries(whole, entry("a", gold, answers, whole.conditions, protocol="gen")))["a"]
    assert found.figures.keys() == {*METRICS, *RATES}
    assert found.figures["missing"] == Estimate(0.06, pytest.approx(0.0278, abs=1e-4), pytest.approx(0.1248, abs=1e-4))
    assert found.figures["ambiguous"] == Estimate(0.0, 0.0, pytest.approx(0.037, abs=1e-4))
    assert found.many_missing


@pytest.mark.parametrize(("code", "count", "many"), [(MISSING, 5, False), (MISSING, 6, True), (AMBIGUOUS, 50, False)])
def test_many_missing_is_more_than_five_in_a_hundred(code: int, count: int, many: bool) -> None:
    whole = column({"a": 0.5}, protocol="gen")
    answers = np.array([code] * count + [0] * (100 - count))
    one = entry("a", np.arange(100) % 3, answers, whole.conditions, protocol="gen")
    assert cells(with_entries(whole, one))["a"].many_missing is many


def test_always_one_answer_is_at_the_floor_and_a_rarer_one_under_it() -> None:
    whole = column({"good": 0.9, "other": 0.5})
    gold = whole.entries[0].documents.gold
    constant = np.full_like(gold, np.bincount(gold).argmax())
    found = cells(with_entries(whole, *whole.entries, entry("constant", gold, constant, whole.conditions)))
    assert found["good"].not_above == {}
    assert found["constant"].not_above == dict.fromkeys(METRICS, "at")
    worse = entry("worse", gold, (constant + 1) % 3, whole.conditions)
    assert found["constant"].figures["mcc"].value == 0
    assert cells(with_entries(whole, whole.entries[0], worse))["worse"].not_above == {
        **dict.fromkeys(METRICS, "under"),
        "mcc": "at",
    }


def test_without_documents_there_is_the_figure_alone() -> None:
    found = cells(column({"a": 0.4, "b": 0.7}, bare=["a"]))
    assert found["a"].figures["weighted_f1"] == Estimate(0.5, None, None)
    assert (found["a"].floors, found["a"].not_above, found["a"].confusion) == ({}, {}, None)
    assert found["b"].confusion is not None
