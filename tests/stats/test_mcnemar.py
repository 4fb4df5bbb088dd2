"""McNemar's test against scipy's binomial test, Holm's correction against its definition, and what a test can find."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fin_plugins.stats.mcnemar import detectable, exact, holm

counts = st.integers(0, 300)


@settings(deadline=None)
@given(counts, counts)
def test_exact_is_the_sign_test(one: int, other: int) -> None:
    expected = stats.binomtest(one, one + other).pvalue if one + other else 1.0
    assert exact(one, other) == pytest.approx(expected, rel=1e-9)
    assert exact(one, other) == exact(other, one)


def test_exact_errs_to_the_safe_side() -> None:
    """Two equally good models: at most 5 of 100 worlds fall below 5 %."""
    rng = np.random.default_rng(1)
    one = rng.binomial(disagreeing := rng.integers(0, 200, 20_000), 0.5)
    assert 0.02 < np.mean(exact(one, disagreeing - one) <= 0.05) <= 0.05


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=30))
def test_holm_rejects_what_stepping_down_rejects(p: list[float]) -> None:
    corrected = holm(p)
    rejected, left = set(), len(p)
    for place in sorted(range(len(p)), key=p.__getitem__):
        if p[place] * left > 0.05:
            break
        rejected.add(place)
        left -= 1
    assert {place for place, value in enumerate(corrected) if value <= 0.05} == rejected
    assert all(value >= raw for value, raw in zip(corrected, p, strict=True))
    assert corrected.max(initial=0) <= 1


def test_holm_by_hand() -> None:
    assert holm([0.04, 0.01, 0.03, 0.005]) == pytest.approx([0.06, 0.03, 0.06, 0.02])


def test_holm_keeps_false_alarms_of_a_whole_family_rare() -> None:
    rng = np.random.default_rng(2)
    alarms = [holm(rng.random(20)).min() <= 0.05 for _ in range(2000)]
    assert np.mean(alarms) == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize("documents", [20, 100, 1000])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.4])
def test_what_is_detectable_is_detected_four_times_in_five(documents: int, share: float) -> None:
    least = float(detectable(share * documents, documents))
    share = max(share, least)
    cells = [(share + least) / 2, max(0.0, (share - least) / 2), 1 - share]
    drawn = np.random.default_rng(3).multinomial(documents, cells, size=5000)
    assert 0.73 < np.mean(exact(drawn[:, 0], drawn[:, 1]) <= 0.05) < 0.82


def test_detectable_shrinks_with_documents_and_grows_with_disagreement() -> None:
    found = detectable([[10, 30], [100, 300]], [[100, 100], [1000, 1000]])
    assert (found[0] > found[1]).all() and (found[:, 1] > found[:, 0]).all()
    assert detectable(3, 5) == 1 > detectable(3, 6)
