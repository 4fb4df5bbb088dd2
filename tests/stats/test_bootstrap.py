"""Bootstrap standard errors against plain resampling of documents and textbook formulas."""

import math
import tracemalloc
from dataclasses import astuple

import numpy as np
import pytest
from numpy.typing import NDArray

from fin_plugins.stats.bootstrap import scores_from_counts, standard_errors
from fin_plugins.stats.metrics import confusion, scores


def answers(n_labels: int, size: int, right: float = 0.5) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Gold labels, uneven, and answers of which some are outside the label set."""
    rng = np.random.default_rng(7)
    shares = 1 / np.arange(1, n_labels + 1)
    gold = rng.choice(n_labels, size, p=shares / shares.sum())
    return gold, np.where(rng.random(size) < right, gold, rng.integers(-2, n_labels, size))


@pytest.mark.parametrize(("n_labels", "size"), [(1, 9), (2, 5), (3, 200), (29, 400)])
def test_scores_of_replicates_equal_sklearn(n_labels: int, size: int) -> None:
    table = confusion(*answers(n_labels, size), n_labels)
    gold, predicted = np.nonzero(table)
    cells = table[gold, predicted]
    counts = np.random.default_rng(1).multinomial(size, cells / size, 30)
    for kind, within in ((np.float64, 1e-12), (np.float32, 1e-6)):
        fast = scores_from_counts(counts.astype(kind), gold, predicted, n_labels)
        for row, count in zip(fast, counts, strict=True):
            documents = np.repeat(gold, count), np.repeat(np.where(predicted == n_labels, -1, predicted), count)
            assert row == pytest.approx(astuple(scores(*documents, n_labels)), abs=within)


@pytest.mark.parametrize(("n_labels", "size"), [(2, 40), (3, 150), (29, 300)])
def test_like_resampling_documents(n_labels: int, size: int) -> None:
    gold, predicted = answers(n_labels, size)
    rng, draws = np.random.default_rng(3), 300
    picks = (rng.integers(size, size=size) for _ in range(draws))
    plain = np.std([astuple(scores(gold[pick], predicted[pick], n_labels)) for pick in picks], axis=0, ddof=1)
    fast = astuple(standard_errors(confusion(gold, predicted, n_labels)))
    assert fast == pytest.approx(plain, rel=4 / math.sqrt(2 * draws))  # four standard errors of a standard deviation


@pytest.mark.parametrize(("n_labels", "size"), [(2, 500), (29, 1488)])
def test_accuracy_has_its_textbook_error(n_labels: int, size: int) -> None:
    gold, predicted = answers(n_labels, size)
    share = float(np.mean(gold == predicted))
    expected = math.sqrt(share * (1 - share) / size)
    assert standard_errors(confusion(gold, predicted, n_labels)).acc == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("n_labels", [3, 29])
def test_same_input_same_result(n_labels: int) -> None:
    table = confusion(*answers(n_labels, 300), n_labels)
    first = standard_errors(table, draws=2_000)
    assert standard_errors(np.asfortranarray(table), draws=2_000) is first  # one draw serves all metrics of a task
    for draws in range(2, 260):  # push the first result out of the cache
        standard_errors(table, draws=draws)
    again = standard_errors(table, draws=2_000)
    assert again is not first and again == first
    assert standard_errors(table, draws=2_000, seed=1) != first


def test_memory_stays_small() -> None:
    table = confusion(*answers(29, 1488, right=0.2), 29)
    assert np.count_nonzero(table) > 300
    tracemalloc.start()
    standard_errors(table)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


@pytest.mark.parametrize("table", [[[0, 0]], [[1, 0]], [[0, 0, 0], [0, 1, 0]], np.zeros((0, 1))])
def test_fewer_than_two_documents_give_nan(table: list[list[int]]) -> None:
    assert all(math.isnan(value) for value in astuple(standard_errors(np.array(table))))


@pytest.mark.parametrize("table", [[[2, 0]], [[0, 5]], [[7, 0, 0], [0, 0, 0]], [[0, 3, 0], [0, 0, 0]]])
def test_one_class_has_no_spread(table: list[list[int]]) -> None:
    assert astuple(standard_errors(np.array(table), draws=500)) == (0.0,) * 4


@pytest.mark.parametrize("table", [[1, 2], [[1, 2], [3, 4]], [[-1, 3]]])
def test_invalid_counts_are_rejected(table: list[int]) -> None:
    with pytest.raises(ValueError, match="confusion counts"):
        standard_errors(np.array(table))
