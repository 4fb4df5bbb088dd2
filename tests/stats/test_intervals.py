"""Intervals hold what they should as often as they say, and are what their definitions say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fin_plugins.stats.intervals import percentile, ratio, wilson


@pytest.mark.parametrize("draws", [1, 2, 39, 1000])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_percentile_is_numpys_quantile(draws: int, kind: type) -> None:
    replicates = np.random.default_rng(1).normal(size=(3, 4, draws)).astype(kind)
    low, high = percentile(replicates, 0.9)
    assert np.stack([low, high]) == pytest.approx(np.quantile(replicates.astype(float), [0.05, 0.95], axis=-1))


def test_percentile_in_parts_is_percentile_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    replicates = np.random.default_rng(1).normal(size=(7, 50))
    whole = percentile(replicates)
    monkeypatch.setattr("fin_plugins.stats.intervals._AT_ONCE", 100)
    assert np.array_equal(percentile(replicates), whole)
    assert percentile(replicates[:0])[0].shape == (0,)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 2000), st.data())
def test_wilson_is_scipys_and_lies_around_the_share(documents: int, data: st.DataObject) -> None:
    found = data.draw(st.integers(0, documents))
    low, high = wilson(found, documents)
    expected = stats.binomtest(found, documents).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= found / documents <= high <= 1


def test_wilson_says_that_the_unseen_may_be() -> None:
    assert wilson(0, 1000) == (0.0, pytest.approx(0.00383, abs=1e-5))
    assert wilson(1000, 1000)[1] == 1.0


def test_ratio_covers_as_often_as_it_says() -> None:
    """Two correlated gains whose true quotient is a half, in worlds where the divisor is no more than 3 errors."""
    rng, held, told = np.random.default_rng(4), 0, 0
    covariance = np.array([[1.0, 0.5], [0.5, 1.0]])
    for _ in range(2000):
        above, below = rng.multivariate_normal([1.5, 3.0], covariance)
        found = ratio(above, below, *(rng.multivariate_normal([above, below], covariance, 400).T))
        if found is not None:
            told += 1
            held += found[0] <= 0.5 <= found[1]
    assert told > 1500
    # A short divisor leaves no interval just where it would miss most often: slightly more than 95 of 100 hold.
    assert 0.94 < held / told < 0.985


def test_ratio_near_certainty_is_the_quotient_and_its_textbook_error() -> None:
    rng = np.random.default_rng(5)
    above, below = rng.normal(5.0, 0.01, 20_000), rng.normal(10.0, 0.01, 20_000)
    low, high = ratio(5.0, 10.0, above, below) or (0.0, 0.0)
    error = 0.01 * np.sqrt(1 + 0.5**2) / 10
    assert (low, high) == pytest.approx((0.5 - 1.96 * error, 0.5 + 1.96 * error), abs=0.1 * error)


def test_ratio_with_itself_is_one_and_with_nothing_is_none() -> None:
    draws = np.random.default_rng(6).normal(5.0, 1.0, 500)
    assert ratio(5.0, 5.0, draws, draws) == pytest.approx((1.0, 1.0), abs=1e-6)
    assert ratio(5.0, 1.9, draws, draws - 3.1) is None
    assert ratio(5.0, -5.0, draws, -draws) is None
