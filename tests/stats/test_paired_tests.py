"""Comparisons of two models against plain resampling, scipy and the definitions of the tests."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score

from fin_plugins.stats.metrics import scores
from fin_plugins.stats.paired_tests import compare, detectable_difference, holm_correction, mcnemar_exact

counts = st.integers(0, 300)


@settings(deadline=None)
@given(counts, counts)
def test_mcnemar_exact_is_the_sign_test(b: int, c: int) -> None:
    expected = stats.binomtest(b, b + c).pvalue if b + c else 1.0
    assert mcnemar_exact(b, c) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_exact(b, c) == mcnemar_exact(c, b)


def test_mcnemar_exact_is_conservative() -> None:
    """Two equally good models: p falls below 5 % in at most 5 % of the comparisons."""
    rng = np.random.default_rng(1)
    b = rng.binomial(disagreeing := rng.integers(0, 200, 20_000), 0.5)
    assert 0.02 < np.mean(mcnemar_exact(b, disagreeing - b) <= 0.05) <= 0.05


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=30))
def test_holm_rejects_what_stepping_down_rejects(p: list[float]) -> None:
    corrected = holm_correction(p)
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
    assert holm_correction([0.04, 0.01, 0.03, 0.005]) == pytest.approx([0.06, 0.03, 0.06, 0.02])


def test_holm_controls_the_family_wise_error() -> None:
    rng = np.random.default_rng(2)
    alarms = [holm_correction(rng.random(20)).min() <= 0.05 for _ in range(2000)]
    assert np.mean(alarms) == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize("documents", [20, 100, 1000])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.4])
def test_a_detectable_difference_is_found_with_the_stated_power(documents: int, share: float) -> None:
    least = float(detectable_difference(share * documents, documents))
    share = max(share, least)
    cells = [(share + least) / 2, max(0.0, (share - least) / 2), 1 - share]
    drawn = np.random.default_rng(3).multinomial(documents, cells, size=5000)
    assert 0.73 < np.mean(mcnemar_exact(drawn[:, 0], drawn[:, 1]) <= 0.05) < 0.82


def test_detectable_difference_shrinks_with_documents_and_grows_with_disagreement() -> None:
    differences = detectable_difference([[10, 30], [100, 300]], [[100, 100], [1000, 1000]])
    assert (differences[0] > differences[1]).all() and (differences[:, 1] > differences[:, 0]).all()
    assert detectable_difference(3, 5) == 1 > detectable_difference(3, 6)


def answers(seed: int, documents: int, right: float, labels: int = 3):
    rng = np.random.default_rng(seed)
    gold = rng.integers(labels, size=documents)
    given = np.where(rng.random(documents) < right, gold, rng.integers(-1, labels, size=documents))
    return gold.tolist(), given.tolist()


def test_scores_are_those_of_each_model():
    gold, first = answers(1, 200, 0.3)
    second = [g if i % 2 else a for i, (g, a) in enumerate(zip(gold, first, strict=True))]
    comparison = compare(gold, first, second, 3)
    assert (comparison.first, comparison.second) == (scores(gold, first, 3), scores(gold, second, 3))
    assert comparison.difference.macro_f1 == pytest.approx(comparison.second.macro_f1 - comparison.first.macro_f1)
    assert 0 < comparison.low.macro_f1 < comparison.difference.macro_f1 < comparison.high.macro_f1
    assert compare(gold, first, second, 3) == comparison
    assert compare(gold, first, second, 3, seed=2) != comparison


def test_the_interval_equals_that_of_resampled_documents():
    gold, first = answers(2, 120, 0.4)
    second = answers(3, 120, 0.5)[1]
    truth, models = np.array(gold), (np.array(first), np.array(second))
    rng, differences = np.random.default_rng(5), []
    for _ in range(1000):
        drawn = rng.integers(120, size=120)
        f1 = [
            f1_score(truth[drawn], predicted[drawn], labels=range(3), average="macro", zero_division=0)
            for predicted in models
        ]
        differences.append(f1[1] - f1[0])
    comparison = compare(gold, first, second, 3)
    assert [comparison.low.macro_f1, comparison.high.macro_f1] == pytest.approx(
        np.quantile(differences, [0.025, 0.975]), abs=0.01
    )


def test_the_interval_covers_at_the_stated_rate():
    """Of two equally good models, the interval contains zero in about 95 of 100 samples."""
    covered = 0
    for sample in range(120):
        rng = np.random.default_rng(sample)
        gold = rng.integers(3, size=150)
        models = [np.where(rng.random(150) < 0.6, gold, rng.integers(3, size=150)).tolist() for _ in "ab"]
        comparison = compare(gold.tolist(), *models, 3, draws=500)
        covered += comparison.low.acc <= 0 <= comparison.high.acc
    assert 106 <= covered <= 119


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-2, 2), st.integers(-2, 2)), min_size=1, max_size=30))
def test_swapping_the_models_changes_the_sign(documents):
    gold, first, second = (list(column) for column in zip(*documents, strict=True))
    forward, backward = (compare(gold, *pair, 3, draws=200) for pair in ((first, second), (second, first)))
    assert forward.difference.acc == pytest.approx(-backward.difference.acc)
    assert forward.low.acc <= forward.high.acc
    assert compare(gold, first, first, 3, draws=50).high.macro_f1 == 0


def test_invalid_input_is_rejected():
    with pytest.raises(ValueError, match="nothing to compare"):
        compare([], [], [], 3)
    with pytest.raises(ValueError, match="one of each"):
        compare([0, 1], [0, 1], [0], 3)
