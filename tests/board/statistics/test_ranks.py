"""Places against scipy's ranks, and intervals of places that say what can be said."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fin_plugins.board.model import METRICS, Rank
from fin_plugins.board.statistics.drawn import Drawn
from fin_plugins.board.statistics.means import Averaged, averaged
from fin_plugins.board.statistics.ranks import places, ranks_of
from tests.board.statistics.worlds import column, draw, mended, with_entries


def ranks(*columns) -> dict[tuple[str, str], Rank]:
    found = ranks_of(averaged([draw(one) for one in columns], "seen"), "choice", "seen")
    return {(one.model, one.metric): one for one in found}


@given(st.integers(1, 6).flatmap(lambda n: st.lists(st.lists(st.integers(-3, 3), min_size=n, max_size=n), min_size=1)))
def test_places_are_ranks_whose_ties_share_the_better(rows: list[list[int]]) -> None:
    figures = np.array(rows, dtype=np.float32)
    assert np.array_equal(places(figures), stats.rankdata(-figures, method="min", axis=1))


def test_models_far_apart_keep_their_places_and_near_ones_change_them() -> None:
    found = ranks(column({"best": 0.9, "middle": 0.5, "same": 0.5, "worst": 0.1}, n=300))
    for metric in METRICS:
        best, worst = found["best", metric], found["worst", metric]
        assert (best.rank, best.low, best.high) == (1, 1, 1)
        assert (worst.rank, worst.low, worst.high) == (4, 4, 4)
        for model in ("middle", "same"):
            one = found[model, metric]
            assert (one.low, one.high) == (2, 3)
            assert one.low <= one.rank <= one.high


def test_places_move_together_where_models_err_on_the_same_documents() -> None:
    """The second knows one document more: it is never worse, whatever is drawn. Independent draws would mix the two."""
    whole = column({"less": 0.5, "more": 0.5}, n=100)
    less = whole.entries[0]
    more = mended(less, "more", 8)
    found = ranks(with_entries(whole, less, more))
    assert (found["more", "acc"].low, found["more", "acc"].high) == (1, 1)
    assert (found["less", "acc"].low, found["less", "acc"].high) == (2, 2)


@pytest.mark.parametrize(("worse", "interval"), [(0, (1, 1)), (20, (1, 1)), (30, (1, 2)), (1000, (1, 2))])
def test_the_middle_of_the_draws_decides_and_the_own_place_is_always_in_it(
    worse: int, interval: tuple[int, int]
) -> None:
    """The first of two has the better figure, and the worse one in so many of 1,000 draws."""
    draws = np.ones((4, 1000), dtype=np.float32)
    draws[:, :worse] = -1
    field = [
        Averaged("first", Drawn(np.full(4, 0.6), draws), (), ()),
        Averaged("second", Drawn(np.full(4, 0.5), np.zeros_like(draws)), (), ()),
    ]
    first = ranks_of(field, "choice", "seen")[0]
    assert (first.model, first.rank, (first.low, first.high)) == ("first", 1, interval)


def test_the_same_answers_share_a_place() -> None:
    whole = column({"a": 0.5, "b": 0.4})
    twin = type(whole.entries[0])(**{**vars(whole.entries[0]), "model": "twin"})
    found = ranks(with_entries(whole, *whole.entries, twin))
    assert found["a", "mcc"].rank == found["twin", "mcc"].rank == 1
    assert (found["a", "mcc"].low, found["a", "mcc"].high) == (found["twin", "mcc"].low, found["twin", "mcc"].high)


def test_a_mean_that_lacks_a_task_has_no_place() -> None:
    found = ranks(column({"a": 0.5, "b": 0.9}, "fin_fpb"), column({"a": 0.5}, "fin_fomc"))
    assert {model for model, _ in found} == {"a"}


def test_without_documents_there_is_a_place_and_no_interval() -> None:
    found = ranks(column({"a": 0.9, "b": 0.2, "c": 0.5}, bare=["c"]))
    assert (found["c", "weighted_f1"].rank, found["c", "weighted_f1"].low, found["c", "weighted_f1"].high) == (
        2,
        None,
        None,
    )
    assert (found["a", "weighted_f1"].low, found["a", "weighted_f1"].high) == (1, 1)
    assert ("c", "mcc") not in found  # the harness did not report it
