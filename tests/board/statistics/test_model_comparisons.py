"""Contrasts agree with `stats`, are corrected over all pairs, and are selected in large columns."""

from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest

from fin_plugins.board.board_data import METRICS, Contrast
from fin_plugins.board.statistics.model_comparisons import ALL_PAIRS, compare_models
from fin_plugins.stats.paired_tests import compare, detectable_difference, holm_correction, mcnemar_exact
from tests.board.statistics.column_factories import column, draw, shuffled, with_entries

SKILLS = {"a": 0.4, "b": 0.55, "c": 0.5}


def by_pair(contrasts: list[Contrast]) -> dict[tuple[str, str], Contrast]:
    return {(contrast.first, contrast.second): contrast for contrast in contrasts}


def test_contrast_agrees_with_stats() -> None:
    original = column(SKILLS)
    reordered = with_entries(original, *(shuffled(contrast, seed) for seed, contrast in enumerate(original.entries)))
    contrasts, tests = compare_models([draw(reordered, draws=5000)], [])
    assert tests == 3 and list(by_pair(contrasts)) == [("a", "b"), ("a", "c"), ("b", "c")]
    answers = {contrast.model: contrast.documents.answers.tolist() for contrast in original.entries}
    gold = original.entries[0].documents.gold
    for (first, second), contrast in by_pair(contrasts).items():
        expected = compare(gold.tolist(), answers[first], answers[second], 3)
        for metric in METRICS:
            estimate = contrast.differences[metric]
            assert estimate.value == pytest.approx(asdict(expected.difference)[metric])
            ends = asdict(expected.low)[metric], asdict(expected.high)[metric]
            assert (estimate.low, estimate.high) == pytest.approx(ends, abs=0.012)
        first_correct, second_correct = (np.array(answers[model]) == gold for model in (first, second))
        assert (contrast.only_first, contrast.only_second) == (
            (first_correct & ~second_correct).sum(),
            (second_correct & ~first_correct).sum(),
        )
        assert contrast.p == mcnemar_exact(contrast.only_first, contrast.only_second)
        assert contrast.detectable == detectable_difference(contrast.only_first + contrast.only_second, 200)
        assert contrast.n == 200


def test_correction_is_over_all_columns() -> None:
    columns = [draw(column(SKILLS, task)) for task in ("fin_fpb", "fin_fomc")]
    contrasts, tests = compare_models(columns, [])
    assert tests == 6
    assert [contrast.p_holm for contrast in contrasts] == pytest.approx(
        holm_correction([contrast.p for contrast in contrasts]).tolist()
    )


def test_large_column_lists_a_selection_and_tests_all() -> None:
    many = {f"m{number}": 0.3 + 0.02 * number for number in range(ALL_PAIRS + 5)}
    large = draw(column(many, n=400), draws=20)
    contrasts, tests = compare_models([large], ["m3"])
    assert tests == len(many) * (len(many) - 1) // 2
    order = sorted(large.models, key=lambda model: -large.figures(model).estimate("weighted_f1").value)
    pairs = {frozenset(pair) for pair in by_pair(contrasts)}
    expected = {frozenset((first, second)) for first in (order[0], "m3") for second in order if second != first}
    expected |= {frozenset(pair) for pair in pairwise(order)}
    assert pairs == expected
    every = compare_models([large], list(many))[0]
    assert len(every) == tests
    assert {pair: first.p_holm for pair, first in by_pair(contrasts).items()}.items() <= {
        pair: first.p_holm for pair, first in by_pair(every).items()
    }.items()


def test_model_without_documents_is_not_compared() -> None:
    contrasts, tests = compare_models([draw(column(SKILLS, bare=["b"])), draw(column({"a": 0.5}, "fin_fomc"))], ["b"])
    assert tests == 1 and list(by_pair(contrasts)) == [("a", "c")]
    assert compare_models([], []) == ([], 0)
    assert compare_models([draw(column(SKILLS, bare=list(SKILLS)))], []) == ([], 0)


def test_equal_answers_have_no_difference() -> None:
    original = column({"a": 0.5})
    twin = type(original.entries[0])(**{**vars(original.entries[0]), "model": "twin"})
    (contrast,), _ = compare_models([draw(with_entries(original, original.entries[0], twin))], [])
    assert (contrast.p, contrast.p_holm, contrast.only_first, contrast.only_second) == (1.0, 1.0, 0, 0)
    assert {(figure.low, figure.value, figure.high) for figure in contrast.differences.values()} == {(0.0, 0.0, 0.0)}
