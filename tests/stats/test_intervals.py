"""Intervals follow their definitions and cover the true value at the stated rate."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fin_plugins.stats.intervals import fieller_interval, percentile_interval, wilson_interval


@pytest.mark.parametrize("draws", [1, 2, 39, 1000])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_percentile_equals_numpy_quantile(draws: int, kind: type) -> None:
    replicates = np.random.default_rng(1).normal(size=(3, 4, draws)).astype(kind)
    low, high = percentile_interval(replicates, 0.9)
    assert np.stack([low, high]) == pytest.approx(np.quantile(replicates.astype(float), [0.05, 0.95], axis=-1))


def test_percentile_of_more_replicates_than_are_sorted_at_once() -> None:
    replicates = np.random.default_rng(1).random((5, 1_000_000), dtype=np.float32)
    ends = np.stack(percentile_interval(replicates), axis=1)
    assert np.array_equal(ends, [np.stack(percentile_interval(row)) for row in replicates])
    assert percentile_interval(replicates[:0])[0].shape == (0,)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 2000), st.data())
def test_wilson_equals_scipy_and_contains_the_share(documents: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, documents))
    low, high = wilson_interval(count, documents)
    expected = stats.binomtest(count, documents).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= count / documents <= high <= 1


def test_wilson_allows_for_events_that_were_not_seen() -> None:
    assert wilson_interval(0, 1000) == (0.0, pytest.approx(0.00383, abs=1e-5))
    assert wilson_interval(1000, 1000)[1] == 1.0


def test_fieller_covers_at_the_stated_rate() -> None:
    """Two correlated gains with a true quotient of one half; the denominator is only 3 standard errors above 0."""
    rng, covered, intervals = np.random.default_rng(4), 0, 0
    covariance = np.array([[1.0, 0.5], [0.5, 1.0]])
    for _ in range(2000):
        a, b = rng.multivariate_normal([1.5, 3.0], covariance)
        interval = fieller_interval(a, b, *(rng.multivariate_normal([a, b], covariance, 400).T))
        if interval is not None:
            intervals += 1
            covered += interval[0] <= 0.5 <= interval[1]
    assert intervals > 1500
    # There is no interval just where it would miss most often, so slightly more than 95 % cover.
    assert 0.94 < covered / intervals < 0.985


def test_fieller_of_precise_figures_is_the_quotient_and_its_textbook_error() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(5.0, 0.01, 20_000), rng.normal(10.0, 0.01, 20_000)
    low, high = fieller_interval(5.0, 10.0, a, b) or (0.0, 0.0)
    error = 0.01 * np.sqrt(1 + 0.5**2) / 10
    assert (low, high) == pytest.approx((0.5 - 1.96 * error, 0.5 + 1.96 * error), abs=0.1 * error)


def test_fieller_of_a_figure_with_itself_is_one_and_of_a_denominator_near_zero_none() -> None:
    draws = np.random.default_rng(6).normal(5.0, 1.0, 500)
    assert fieller_interval(5.0, 5.0, draws, draws) == pytest.approx((1.0, 1.0), abs=1e-6)
    assert fieller_interval(5.0, 1.9, draws, draws - 3.1) is None
    assert fieller_interval(5.0, -5.0, draws, -draws) is None
