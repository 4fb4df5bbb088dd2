"""Caps, repeats and weights, drawn by the seed."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_plugins.training.config import TaskShare
from fin_plugins.training.mixture import draw, per_epoch, take


def share(**settings):
    return TaskShare(task="a", **settings)


@given(st.integers(1, 40), st.integers(0, 200), st.integers(0, 2**32 - 1))
def test_a_draw_takes_every_item_once_before_any_twice(size, count, seed):
    drawn = draw(list(range(size)), count, seed, "a")
    times = Counter(drawn)
    assert len(drawn) == count
    assert set(times) <= set(range(size))
    assert all(count // size <= times[item] <= -(-count // size) for item in range(size))
    assert draw(list(range(size)), count, seed, "a") == drawn


def test_names_and_seeds_draw_apart():
    items = list(range(100))
    draws = {tuple(draw(items, 50, seed, name)) for seed in (1, 2) for name in ("a", "b")}
    assert len(draws) == 4


def test_nothing_can_be_drawn_from_nothing():
    assert draw([], 0, 1, "a") == []


def test_cap_comes_before_repeat():
    assert per_epoch({"a": 100, "b": 10}, {"a": share(cap=30, repeat=2), "b": share(repeat=3)}) == {"a": 60, "b": 30}
    taken = take(list(range(100)), share(cap=30, repeat=2), 60, 5, "a")
    assert sorted(Counter(taken).values()) == [2] * 30


def test_a_task_without_rows_has_none():
    assert per_epoch({"a": 0, "b": 5}, {"a": share(), "b": share()}) == {"b": 5}


@given(
    st.lists(st.tuples(st.integers(1, 5000), st.floats(0.01, 100)), min_size=1, max_size=6),
)
def test_weights_are_proportions_and_no_task_needs_more_than_it_has(tasks):
    available = {str(index): rows for index, (rows, _) in enumerate(tasks)}
    shares = {str(index): share(weight=weight) for index, (_, weight) in enumerate(tasks)}
    counts = per_epoch(available, shares)
    assert all(1 <= counts[name] <= available[name] for name in available)
    assert any(counts[name] == available[name] for name in available)  # as large as it can be
    scale = min(rows / weight for rows, weight in tasks)
    for name, (_, weight) in zip(available, tasks, strict=True):
        assert counts[name] == pytest.approx(max(1, weight * scale), abs=0.51)
