"""Choice of columns, means over groups, and ranks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fin_plugins.board.board_data import METRICS, Estimate, Rank
from fin_plugins.board.statistics.bootstrap_column import Replicates
from fin_plugins.board.statistics.group_means import (
    GroupMean,
    average_groups,
    choose_columns,
    competition_ranks,
    rank_models,
)
from tests.board.statistics.column_factories import column, draw, improved, with_entries

FEW, MANY = {"a": 0.5}, {"a": 0.5, "b": 0.6}


def choose(*columns) -> tuple[list[str], list[str]]:
    parts, problems = choose_columns([draw(column) for column in columns], "choice")
    return [part.column.key for part in parts], [part.message for part in problems]


def test_real_complete_column_is_preferred() -> None:
    real_column, sample = column(FEW, key="real"), column(MANY, key="sample", data="sample")
    cut = column(MANY, key="cut", limit="10")
    assert choose(sample, cut, real_column) == (["real"], [])
    assert choose(real_column, column(MANY, key="more")) == (["more"], [])
    assert choose(column(FEW, key="first"), column(FEW, key="second")) == (["first"], [])


def test_otherwise_most_entries_decide() -> None:
    assert choose(column(FEW, key="cut", limit="10"), column(MANY, key="sample", data="sample")) == (["sample"], [])


def test_kinds_of_rows_are_not_mixed() -> None:
    real_column = [column(FEW, task) for task in ("fin_fpb", "fin_fomc")]
    keys, messages = choose(*real_column, column(FEW, "fin_deal", seen=False, data="sample"))
    assert keys == ["fin_fpb", "fin_fomc"]
    assert len(messages) == 1 and messages[0].startswith("fin_deal (choice) has sample rows")
    assert choose(column(FEW, "fin_deal", data="sample"), real_column[0])[0] == [
        "fin_fpb"
    ]  # as many of each: the real ones


def test_excluded_columns() -> None:
    excluded = [
        column(FEW, "fin_fpb", protocol="gen"),
        column(FEW, "hellaswag", seen=None),
        column(FEW, "fin_causal_full", seen=False),
        column(FEW, "fin_finred_paper"),
    ]
    assert choose(*excluded, column(FEW, "fin_causal", seen=False), column(FEW, "theirs")) == (
        ["fin_causal", "theirs"],
        [],
    )
    assert choose_columns([], "gen") == ([], [])


SKILLS = {"a": 0.4, "b": 0.7}


def test_unweighted_over_columns_of_the_group() -> None:
    parts = [draw(column(SKILLS, "fin_fpb", n=100)), draw(column(SKILLS, "fin_fomc", n=400))]
    unseen_part = draw(column(SKILLS, "fin_deal", seen=False))
    for model in average_groups([*parts, unseen_part], "seen"):
        mean = model.to_mean("choice", "seen")
        assert (mean.columns, mean.missing) == (("fin_fpb", "fin_fomc"), ())
        for metric in METRICS:
            values = [part.figures(mean.model).estimate(metric).value for part in parts]
            assert mean.figures[metric].value == pytest.approx(sum(values) / 2)
    assert average_groups([*parts, unseen_part], "unseen")[0].columns == ("fin_deal",)
    assert average_groups([*parts, unseen_part], "all")[0].columns == ("fin_fpb", "fin_fomc", "fin_deal")
    assert average_groups(parts, "unseen") == []


def test_the_interval_is_that_of_independent_columns() -> None:
    parts = [draw(column(SKILLS, task), draws=4000) for task in ("fin_fpb", "fin_fomc", "fin_fiqa")]
    spreads = [part.figures("a").draws.std(axis=1) for part in parts]
    mean = average_groups(parts, "seen")[0].figures
    assert mean.draws.std(axis=1) == pytest.approx(np.sqrt(np.sum(np.square(spreads), axis=0)) / 3, rel=0.06)
    estimate = mean.estimate("acc")
    assert (estimate.low, estimate.high) == pytest.approx(tuple(np.quantile(mean.draws[0], [0.025, 0.975])))


def test_missing_tasks() -> None:
    parts = [draw(column(SKILLS, "fin_fpb")), draw(column({"a": 0.4}, "fin_fomc"))]
    a, b = average_groups(parts, "seen")
    assert (a.missing, b.missing, b.columns) == ((), ("fin_fomc",), ("fin_fpb",))


def test_column_without_documents_removes_the_interval() -> None:
    parts = [draw(column(SKILLS, "fin_fpb")), draw(column(SKILLS, "fin_fomc", bare=["a"]))]
    a, b = (mean.to_mean("choice", "seen") for mean in average_groups(parts, "seen"))
    assert a.figures.keys() == {"acc", "weighted_f1"}  # all the harness reported
    first_value = parts[0].figures("a").estimate("weighted_f1").value
    assert a.figures["weighted_f1"] == Estimate(pytest.approx((first_value + 0.5) / 2), None, None)
    assert b.figures["weighted_f1"].low is not None


def ranks(*columns) -> dict[tuple[str, str], Rank]:
    ranked = rank_models(average_groups([draw(rank) for rank in columns], "seen"), "choice", "seen")
    return {(rank.model, rank.metric): rank for rank in ranked}


@given(st.integers(1, 6).flatmap(lambda n: st.lists(st.lists(st.integers(-3, 3), min_size=n, max_size=n), min_size=1)))
def test_ties_share_the_better_rank(rows: list[list[int]]) -> None:
    figures = np.array(rows, dtype=np.float32)
    assert np.array_equal(competition_ranks(figures), stats.rankdata(-figures, method="min", axis=1))


def test_close_models_swap_ranks() -> None:
    result = ranks(column({"best": 0.9, "middle": 0.5, "same": 0.5, "worst": 0.1}, n=300))
    for metric in METRICS:
        best, worst = result["best", metric], result["worst", metric]
        assert (best.rank, best.low, best.high) == (1, 1, 1)
        assert (worst.rank, worst.low, worst.high) == (4, 4, 4)
        for model in ("middle", "same"):
            rank = result[model, metric]
            assert (rank.low, rank.high) == (2, 3)
            assert rank.low <= rank.rank <= rank.high


def test_ranks_are_paired() -> None:
    """The second answers more documents correctly, so it is better on every paired replicate."""
    original = column({"less": 0.5, "more": 0.5}, n=100)
    less = original.entries[0]
    more = improved(less, "more", 8)
    result = ranks(with_entries(original, less, more))
    assert (result["more", "acc"].low, result["more", "acc"].high) == (1, 1)
    assert (result["less", "acc"].low, result["less", "acc"].high) == (2, 2)


@pytest.mark.parametrize(("worse", "interval"), [(0, (1, 1)), (20, (1, 1)), (30, (1, 2)), (1000, (1, 2))])
def test_rank_interval(worse: int, interval: tuple[int, int]) -> None:
    """The first of two models is better, except on some of 1,000 replicates."""
    draws = np.ones((4, 1000), dtype=np.float32)
    draws[:, :worse] = -1
    field = [
        GroupMean("first", Replicates(np.full(4, 0.6), draws), (), ()),
        GroupMean("second", Replicates(np.full(4, 0.5), np.zeros_like(draws)), (), ()),
    ]
    first = rank_models(field, "choice", "seen")[0]
    assert (first.model, first.rank, (first.low, first.high)) == ("first", 1, interval)


def test_equal_answers_share_a_rank() -> None:
    original = column({"a": 0.5, "b": 0.4})
    twin = type(original.entries[0])(**{**vars(original.entries[0]), "model": "twin"})
    result = ranks(with_entries(original, *original.entries, twin))
    assert result["a", "mcc"].rank == result["twin", "mcc"].rank == 1
    assert (result["a", "mcc"].low, result["a", "mcc"].high) == (result["twin", "mcc"].low, result["twin", "mcc"].high)


def test_partial_mean_has_no_rank() -> None:
    result = ranks(column({"a": 0.5, "b": 0.9}, "fin_fpb"), column({"a": 0.5}, "fin_fomc"))
    assert {model for model, _ in result} == {"a"}


def test_rank_without_documents_has_no_interval() -> None:
    result = ranks(column({"a": 0.9, "b": 0.2, "c": 0.5}, bare=["c"]))
    assert (result["c", "weighted_f1"].rank, result["c", "weighted_f1"].low, result["c", "weighted_f1"].high) == (
        2,
        None,
        None,
    )
    assert (result["a", "weighted_f1"].low, result["a", "weighted_f1"].high) == (1, 1)
    assert ("c", "mcc") not in result  # the harness did not report it
