"""Samplers stay within the ranges, depend only on the values they receive, and CMA-ES approaches the best."""

from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_plugins.merging.search.samplers import equal_weights, propose_weights
from fin_plugins.merging.search.search_config import SearchConfig


def make_config(sampler: str, **settings: Any) -> SearchConfig:
    experts = {
        "a": {"path": "a", "tasks": ["x"]},
        "b": {"path": "b", "tasks": ["y"], "weight": {"low": -1.0, "high": 0.2}},
    }
    return SearchConfig.model_validate({"base": "b", "experts": experts, "sampler": sampler, **settings})


def propose(config: SearchConfig, values: list[float]) -> list[dict[str, float]]:
    """The proposals if the candidates have these values."""
    sampler = propose_weights(config)
    return [next(sampler), *(sampler.send(value) for value in values)]


@pytest.mark.parametrize("sampler", ["random", "cma", "grid"])
@settings(max_examples=15, deadline=None)
@given(values=st.lists(st.floats(-5, 1), min_size=24, max_size=24), seed=st.integers(0, 2**32 - 1))
def test_proposals_depend_on_the_file_and_the_values(sampler: str, values: list[float], seed: int) -> None:
    if sampler == "cma":
        pytest.importorskip("cmaes")
    proposals = propose(make_config(sampler, seed=seed), values)
    assert proposals == propose(make_config(sampler, seed=seed), values)
    assert all(0 <= weights["a"] <= 1 and -1 <= weights["b"] <= 0.2 for weights in proposals)
    assert all(round(weight, 4) == weight for weights in proposals for weight in weights.values())


def test_a_grid_has_every_point_once() -> None:
    config = make_config("grid", steps=3)
    points = [(weights["a"], weights["b"]) for weights in islice(propose_weights(config), 100)]
    assert len(points) == config.count == len(set(points)) == 9
    assert points[0] == (0, -1) and points[4] == (0.5, -0.4) and points[-1] == (1, 0.2)


def test_the_first_random_candidate_is_the_merge_without_a_search() -> None:
    assert (
        next(propose_weights(make_config("random")))
        == equal_weights(make_config("random").ranges())
        == {"a": 0.5, "b": 0.2}
    )
    first, other = (list(islice(propose_weights(make_config("random", seed=seed)), 5)) for seed in (0, 1))
    assert first[1:] != other[1:] and len({tuple(weights.values()) for weights in first}) == 5


def test_cma_approaches_the_maximum() -> None:
    pytest.importorskip("cmaes")
    sampler = propose_weights(make_config("cma"))
    weights = next(sampler)
    for _ in range(150):
        weights = sampler.send(-((weights["a"] - 0.8) ** 2) - (weights["b"] + 0.7) ** 2)
    assert abs(weights["a"] - 0.8) < 0.05 and abs(weights["b"] + 0.7) < 0.05
