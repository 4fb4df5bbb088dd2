"""Metrics against scikit-learn, including answers outside the label set and edge cases."""

import math
import warnings
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from fin_plugins.stats.metrics import Scores, confusion, majority_floor, scores

Pairs = tuple[list[int], list[int], int]


@st.composite
def label_pairs(draw: st.DrawFn) -> Pairs:
    n_labels, size = draw(st.integers(1, 6)), draw(st.integers(1, 40))
    gold = draw(st.lists(st.integers(0, n_labels - 1), min_size=size, max_size=size))
    predicted = draw(st.lists(st.integers(-2, n_labels - 1), min_size=size, max_size=size))
    return gold, predicted, n_labels


def by_sklearn(gold: list[int], predicted: list[int], n_labels: int) -> list[float]:
    """From label names, as a reader of the sample files would compute them."""
    truth = [f"label {index}" for index in gold]
    answers = [f"label {index}" if index >= 0 else "outside" for index in predicted]
    names = [f"label {index}" for index in range(n_labels)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        f1s = [sk.f1_score(truth, answers, labels=names, average=how, zero_division=0) for how in ("weighted", "macro")]
        return [sk.accuracy_score(truth, answers), *f1s, sk.matthews_corrcoef(truth, answers)]


@settings(deadline=None)
@given(label_pairs())
def test_equal_to_sklearn(pairs: Pairs) -> None:
    assert astuple(scores(*pairs)) == pytest.approx(by_sklearn(*pairs), abs=1e-12)


@settings(deadline=None)
@given(label_pairs())
def test_confusion_counts_every_document_once(pairs: Pairs) -> None:
    gold, predicted, n_labels = pairs
    table = confusion(*pairs)
    assert table.shape == (n_labels, n_labels + 1)
    assert table.sum() == len(gold)
    assert table[:, -1].sum() == sum(answer < 0 for answer in predicted)
    assert np.trace(table[:, :-1]) == sum(label == answer for label, answer in zip(gold, predicted, strict=True))


@settings(deadline=None)
@given(label_pairs())
def test_missing_and_ambiguous_score_the_same_and_never_better_than_an_answer(pairs: Pairs) -> None:
    gold, predicted, n_labels = pairs
    as_missing = [max(answer, -1) for answer in predicted]
    assert scores(gold, predicted, n_labels) == scores(gold, as_missing, n_labels)
    assert scores(gold, predicted, n_labels).acc <= scores(gold, [max(answer, 0) for answer in predicted], n_labels).acc


def test_an_answer_outside_the_label_set_never_matches() -> None:
    assert scores([0, 1, 2], [-1, -2, -1], 3) == Scores(0.0, 0.0, 0.0, 0.0)
    assert scores([0, 0, 1, 1], [0, -1, 1, -2], 2).acc == 0.5


def test_a_label_that_never_occurs_counts_in_macro_f1() -> None:
    assert scores([0, 1], [0, 1], 4) == Scores(1.0, 1.0, 0.5, 1.0)


def test_no_documents_give_nan() -> None:
    assert all(math.isnan(value) for value in (*astuple(scores([], [], 3)), *astuple(majority_floor([], 3))))
    assert confusion([], [], 3).tolist() == [[0] * 4] * 3


@pytest.mark.parametrize("size", [1, 5])
def test_one_class_only(size: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scores([0] * size, [0] * size, 1) == Scores(1.0, 1.0, 1.0, 0.0)
        assert scores([1] * size, [0] * size, 2) == Scores(0.0, 0.0, 0.0, 0.0)


def test_majority_floor_of_the_papers_deal_set() -> None:
    floor = majority_floor([0] * 250 + [1] * 250, 2)
    assert astuple(floor) == pytest.approx((0.5, 1 / 3, 1 / 3, 0.0))
    assert majority_floor([2, 2, 1], 3) == scores([2, 2, 1], [2, 2, 2], 3)


@pytest.mark.parametrize(("gold", "predicted"), [([0], [0, 1]), ([2], [0]), ([-1], [-1]), ([0], [2])])
def test_invalid_indices_are_rejected(gold: list[int], predicted: list[int]) -> None:
    with pytest.raises(ValueError, match="label"):
        scores(gold, predicted, 2)
