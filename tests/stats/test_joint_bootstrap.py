"""The joint bootstrap against scikit-learn and plain resampling; models do not affect each other."""

from dataclasses import astuple

import numpy as np
import pytest
from numpy.typing import NDArray

from fin_plugins.stats.intervals import percentile_interval
from fin_plugins.stats.joint_bootstrap import resample
from fin_plugins.stats.metrics import scores
from fin_plugins.stats.paired_tests import compare


def world(models: int, documents: int, labels: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Uneven gold labels and answers of unequally good models, some outside the label set."""
    rng = np.random.default_rng(models + documents + labels)
    shares = 1 / np.arange(1, labels + 1)
    gold = rng.choice(labels, documents, p=shares / shares.sum())
    right = rng.random((models, documents)) < np.linspace(0.4, 0.8, models)[:, None]
    return gold, np.where(right, gold, rng.integers(-2, labels, (models, documents)))


@pytest.mark.parametrize(("models", "documents", "labels"), [(1, 1, 1), (2, 9, 2), (5, 200, 3), (3, 300, 29)])
def test_observed_and_replicates_equal_sklearn(models: int, documents: int, labels: int) -> None:
    gold, answers = world(models, documents, labels)
    joint = resample(gold, answers, labels, draws=12, seed=3)
    rng = np.random.default_rng(3)
    picks = rng.integers(documents, size=(12, documents))
    for model, predicted in enumerate(answers):
        assert joint.observed[model] == pytest.approx(astuple(scores(gold, predicted, labels)), abs=1e-12)
        for draw, pick in enumerate(picks):
            expected = astuple(scores(gold[pick], predicted[pick], labels))
            assert joint.replicates[model, :, draw] == pytest.approx(expected, abs=1e-6)


def test_mcc_stays_exact_where_squares_do_not_fit_32_bits() -> None:
    gold, answers = world(1, 9_000, 2)
    joint = resample(gold, answers, 2, draws=1, seed=1)
    pick = np.random.default_rng(1).integers(9_000, size=9_000)
    assert joint.replicates[0, :, 0] == pytest.approx(astuple(scores(gold[pick], answers[0][pick], 2)), abs=1e-6)


def test_like_resampling_documents_with_sklearn() -> None:
    """Spread of every figure and of the differences between two models."""
    gold, answers = world(2, 120, 3)
    rng, plain = np.random.default_rng(8), []
    for _ in range(250):
        pick = rng.integers(120, size=120)
        plain.append([astuple(scores(gold[pick], predicted[pick], 3)) for predicted in answers])
    expected, replicates = np.array(plain), resample(gold, answers, 3, draws=20_000).replicates
    within = 4 / np.sqrt(2 * len(plain))  # four standard errors of a standard deviation
    assert replicates.std(axis=-1) == pytest.approx(expected.std(axis=0), rel=within)
    difference = replicates[1] - replicates[0]
    assert difference.std(axis=-1) == pytest.approx((expected[:, 1] - expected[:, 0]).std(axis=0), rel=within)


def test_differences_are_those_of_the_paired_bootstrap() -> None:
    gold, answers = world(2, 150, 3)
    pair = compare(gold.tolist(), answers[0].tolist(), answers[1].tolist(), 3)
    joint = resample(gold, answers, 3)
    low, high = np.quantile(joint.replicates[1] - joint.replicates[0], [0.025, 0.975], axis=-1)
    assert low == pytest.approx(astuple(pair.low), abs=0.012)
    assert high == pytest.approx(astuple(pair.high), abs=0.012)


def test_intervals_cover_at_the_stated_rate() -> None:
    """Samples from a population whose true figures are known."""
    gold, answers = world(1, 200_000, 3)
    true, rng, covered = resample(gold, answers, 3, draws=0).observed[0], np.random.default_rng(9), np.zeros(4)
    for number in range(300):
        pick = rng.integers(len(gold), size=250)
        low, high = percentile_interval(resample(gold[pick], answers[:, pick], 3, draws=400, seed=number).replicates[0])
        covered += (low <= true) & (true <= high)
    assert (covered >= 0.91 * 300).all() and (covered <= 0.985 * 300).all()


def test_a_model_is_the_same_among_any_other_models() -> None:
    gold, answers = world(40, 100, 29)  # so many models and labels that the draws are made in chunks
    alone, together = resample(gold, answers[2:3], 29, draws=300), resample(gold, answers, 29, draws=300)
    assert np.array_equal(alone.replicates[0], together.replicates[2])
    other_seed = resample(gold, answers[2:3], 29, draws=300, seed=[1, 2])
    assert not np.array_equal(other_seed.replicates, alone.replicates)


@pytest.mark.parametrize(
    ("gold", "answers", "message"),
    [
        ([], [[]], "nothing to resample"),
        ([0], [], "nothing to resample"),
        ([0, 1], [[0]], "one of each"),
        ([0, 3], [[0, 0]], "outside the label set"),
        ([0, 1], [[0, 3]], "outside the label set"),
    ],
)
def test_invalid_input_is_rejected(gold: list[int], answers: list[list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resample(gold, answers, 3)
