"""Pairs are tested as `stats` tests them, corrected over all of them, and the right ones are kept."""

from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest

from fin_plugins.board.model import METRICS, Contrast
from fin_plugins.board.statistics.contrasts import ALL_PAIRS, contrasts_of
from fin_plugins.stats.mcnemar import detectable, exact, holm
from fin_plugins.stats.paired import compare
from tests.board.statistics.worlds import column, draw, shuffled, with_entries

SKILLS = {"a": 0.4, "b": 0.55, "c": 0.5}


def by_pair(found: list[Contrast]) -> dict[tuple[str, str], Contrast]:
    return {(one.first, one.second): one for one in found}


def test_a_pair_is_compared_as_stats_compares_it() -> None:
    whole = column(SKILLS)
    mixed = with_entries(whole, *(shuffled(one, seed) for seed, one in enumerate(whole.entries)))
    found, tests = contrasts_of([draw(mixed, draws=5000)], [])
    assert tests == 3 and list(by_pair(found)) == [("a", "b"), ("a", "c"), ("b", "c")]
    answers = {one.model: one.documents.answers.tolist() for one in whole.entries}
    gold = whole.entries[0].documents.gold
    for (first, second), one in by_pair(found).items():
        expected = compare(gold.tolist(), answers[first], answers[second], 3)
        for metric in METRICS:
            shown = one.differences[metric]
            assert shown.value == pytest.approx(asdict(expected.difference)[metric])
            ends = asdict(expected.low)[metric], asdict(expected.high)[metric]
            assert (shown.low, shown.high) == pytest.approx(ends, abs=0.012)
        right, also = (np.array(answers[model]) == gold for model in (first, second))
        assert (one.only_first, one.only_second) == ((right & ~also).sum(), (also & ~right).sum())
        assert one.p == exact(one.only_first, one.only_second)
        assert one.detectable == detectable(one.only_first + one.only_second, 200)
        assert one.n == 200


def test_the_correction_is_over_all_columns() -> None:
    columns = [draw(column(SKILLS, task)) for task in ("fin_fpb", "fin_fomc")]
    found, tests = contrasts_of(columns, [])
    assert tests == 6
    assert [one.p_holm for one in found] == pytest.approx(holm([one.p for one in found]).tolist())


def test_a_large_column_keeps_the_best_the_named_and_neighbours_and_tests_all() -> None:
    many = {f"m{number}": 0.3 + 0.02 * number for number in range(ALL_PAIRS + 5)}
    large = draw(column(many, n=400), draws=20)
    found, tests = contrasts_of([large], ["m3"])
    assert tests == len(many) * (len(many) - 1) // 2
    order = sorted(large.models, key=lambda model: -large.figures(model).estimate("weighted_f1").value)
    pairs = {frozenset(pair) for pair in by_pair(found)}
    expected = {frozenset((one, other)) for one in (order[0], "m3") for other in order if other != one}
    expected |= {frozenset(pair) for pair in pairwise(order)}
    assert pairs == expected
    every = contrasts_of([large], list(many))[0]
    assert len(every) == tests
    assert {pair: one.p_holm for pair, one in by_pair(found).items()}.items() <= {
        pair: one.p_holm for pair, one in by_pair(every).items()
    }.items()


def test_a_model_without_documents_is_compared_with_nobody() -> None:
    found, tests = contrasts_of([draw(column(SKILLS, bare=["b"])), draw(column({"a": 0.5}, "fin_fomc"))], ["b"])
    assert tests == 1 and list(by_pair(found)) == [("a", "c")]
    assert contrasts_of([], []) == ([], 0)
    assert contrasts_of([draw(column(SKILLS, bare=list(SKILLS)))], []) == ([], 0)


def test_the_same_answers_differ_in_nothing() -> None:
    whole = column({"a": 0.5})
    twin = type(whole.entries[0])(**{**vars(whole.entries[0]), "model": "twin"})
    (one,), _ = contrasts_of([draw(with_entries(whole, whole.entries[0], twin))], [])
    assert (one.p, one.p_holm, one.only_first, one.only_second) == (1.0, 1.0, 0, 0)
    assert {(figure.low, figure.value, figure.high) for figure in one.differences.values()} == {(0.0, 0.0, 0.0)}
