"""The paired bootstrap is that of resampled documents, and its interval is honest."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from fin_plugins.stats.metrics import scores
from fin_plugins.stats.paired import compare


def answers(seed: int, documents: int, right: float, labels: int = 3):
    rng = np.random.default_rng(seed)
    gold = rng.integers(labels, size=documents)
    given = np.where(rng.random(documents) < right, gold, rng.integers(-1, labels, size=documents))
    return gold.tolist(), given.tolist()


def test_scores_are_those_of_each_model():
    gold, first = answers(1, 200, 0.3)
    second = [g if i % 2 else a for i, (g, a) in enumerate(zip(gold, first, strict=True))]
    found = compare(gold, first, second, 3)
    assert (found.first, found.second) == (scores(gold, first, 3), scores(gold, second, 3))
    assert found.difference.macro_f1 == pytest.approx(found.second.macro_f1 - found.first.macro_f1)
    assert 0 < found.low.macro_f1 < found.difference.macro_f1 < found.high.macro_f1
    assert compare(gold, first, second, 3) == found
    assert compare(gold, first, second, 3, seed=2) != found


def test_the_interval_is_that_of_documents_drawn_one_by_one():
    gold, first = answers(2, 120, 0.4)
    second = answers(3, 120, 0.5)[1]
    rng, differences = np.random.default_rng(5), []
    for _ in range(2000):
        drawn = rng.integers(120, size=120)
        f1 = [
            f1_score(np.array(gold)[drawn], np.array(one)[drawn], labels=range(3), average="macro", zero_division=0)
            for one in (first, second)
        ]
        differences.append(f1[1] - f1[0])
    found = compare(gold, first, second, 3)
    assert [found.low.macro_f1, found.high.macro_f1] == pytest.approx(
        np.quantile(differences, [0.025, 0.975]), abs=0.01
    )


def test_it_covers_as_often_as_it_says():
    """Two models equally good: the interval holds zero in about 95 of 100 worlds."""
    held = 0
    for world in range(200):
        rng = np.random.default_rng(world)
        gold = rng.integers(3, size=150)
        models = [np.where(rng.random(150) < 0.6, gold, rng.integers(3, size=150)).tolist() for _ in "ab"]
        found = compare(gold.tolist(), *models, 3, draws=1000)
        held += found.low.acc <= 0 <= found.high.acc
    assert 180 <= held <= 199


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-2, 2), st.integers(-2, 2)), min_size=1, max_size=30))
def test_swapping_the_models_mirrors_it(documents):
    gold, first, second = (list(column) for column in zip(*documents, strict=True))
    one, other = (compare(gold, *pair, 3, draws=200) for pair in ((first, second), (second, first)))
    assert one.difference.acc == pytest.approx(-other.difference.acc)
    assert one.low.acc <= one.high.acc
    assert compare(gold, first, first, 3, draws=50).high.macro_f1 == 0


def test_nothing_to_compare():
    with pytest.raises(ValueError, match="nothing to compare"):
        compare([], [], [], 3)
    with pytest.raises(ValueError, match="one of each a document"):
        compare([0, 1], [0, 1], [0], 3)
