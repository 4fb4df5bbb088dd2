"""Standard errors against plain resampling of documents, and the fast draws against the multinomial's moments."""

import math
import tracemalloc
from collections.abc import Iterator
from dataclasses import astuple

import numpy as np
import pytest
from numpy.typing import NDArray

from fin_plugins.stats import bootstrap
from fin_plugins.stats.bootstrap import standard_errors
from fin_plugins.stats.metrics import confusion, scores


@pytest.fixture(autouse=True)
def nothing_cached() -> Iterator[None]:
    bootstrap._standard_errors.cache_clear()
    yield
    bootstrap._standard_errors.cache_clear()


def answers(n_labels: int, size: int, right: float = 0.5) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Gold labels, uneven, and answers of which some are outside the label set."""
    rng = np.random.default_rng(7)
    shares = 1 / np.arange(1, n_labels + 1)
    gold = rng.choice(n_labels, size, p=shares / shares.sum())
    return gold, np.where(rng.random(size) < right, gold, rng.integers(-2, n_labels, size))


@pytest.mark.parametrize(("n_labels", "size"), [(1, 9), (2, 5), (3, 200), (29, 400)])
def test_scores_of_replicates_equal_sklearn(n_labels: int, size: int) -> None:
    table = confusion(*answers(n_labels, size), n_labels)
    gold, said = np.nonzero(table)
    cells = table[gold, said]
    counts = np.random.default_rng(1).multinomial(size, cells / size, 30)
    for kind, within in ((np.float64, 1e-12), (np.float32, 1e-6)):
        fast = bootstrap.scores_from_counts(counts.astype(kind), gold, said, n_labels)
        for row, count in zip(fast, counts, strict=True):
            documents = np.repeat(gold, count), np.repeat(np.where(said == n_labels, -1, said), count)
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
    assert standard_errors(confusion(gold, predicted, n_labels)).acc == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("cells", [[1] * 45, [1] * 3 + [2] * 2 + [9] * 30 + [90] * 10, [1] * 40 + [5_000]])
def test_fast_draws_are_multinomial(cells: list[int]) -> None:
    """Sums exactly; means, variances and covariances within Monte-Carlo error."""
    sizes, rows = np.array(cells), 40_000
    total, shares = int(sizes.sum()), sizes / sizes.sum()
    assert len(cells) >= bootstrap._MANY_CELLS
    drawn = bootstrap._drawer(sizes)(np.random.default_rng(5), rows).astype(np.float64)
    assert (drawn.sum(axis=1) == total).all()
    assert (drawn >= 0).all()
    spread = np.sqrt(total * shares * (1 - shares))
    assert np.abs(drawn.mean(axis=0) - total * shares).max() < (5 * spread / math.sqrt(rows)).max()
    expected = total * (np.diag(shares) - np.outer(shares, shares))
    error = np.sqrt((np.outer(spread**2, spread**2) * (1 + 2 * np.eye(len(cells)))) / rows)
    assert (np.abs(np.cov(drawn.T) - expected) / error).max() < 6
    assert np.mean(drawn[:, 0] == 0) == pytest.approx((1 - shares[0]) ** total, abs=5 * 0.5 / math.sqrt(rows))


@pytest.mark.parametrize("mean", [0.0, 0.3, 1.0, 63.0])
def test_poisson_table_is_the_distribution(mean: float) -> None:
    values, below = table = bootstrap._poisson_table(mean)
    assert np.count_nonzero(values == bootstrap._SPLIT) < 200
    drawn = bootstrap._from_table(np.random.default_rng(2), table, (1_000, 1_000))
    seen = np.cumsum(np.bincount(drawn.ravel(), minlength=len(below))) / drawn.size
    assert seen == pytest.approx(below, abs=5 * 0.5 / 1_000)
    assert drawn.mean() == pytest.approx(mean, abs=5 * math.sqrt(mean) / 1_000)


@pytest.mark.parametrize("n_labels", [3, 29])
def test_same_input_same_answer(n_labels: int) -> None:
    table = confusion(*answers(n_labels, 300), n_labels)
    first = standard_errors(table, draws=2_000)
    assert standard_errors(np.asfortranarray(table), draws=2_000) is first  # one draw serves all metrics of a task
    bootstrap._standard_errors.cache_clear()
    assert standard_errors(table, draws=2_000) == first
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
def test_fewer_than_two_documents_say_nothing(table: list[list[int]]) -> None:
    assert all(math.isnan(value) for value in astuple(standard_errors(np.array(table))))


@pytest.mark.parametrize("table", [[[2, 0]], [[0, 5]], [[7, 0, 0], [0, 0, 0]], [[0, 3, 0], [0, 0, 0]]])
def test_one_class_has_no_spread(table: list[list[int]]) -> None:
    assert astuple(standard_errors(np.array(table), draws=500)) == (0.0,) * 4


@pytest.mark.parametrize("table", [[1, 2], [[1, 2], [3, 4]], [[-1, 3]]])
def test_what_is_no_confusion_is_refused(table: list[int]) -> None:
    with pytest.raises(ValueError, match="confusion counts"):
        standard_errors(np.array(table))
