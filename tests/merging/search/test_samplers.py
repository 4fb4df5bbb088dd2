"""Where samplers look: within the ranges, the same again when told the same, and CMA-ES towards the best."""

from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_plugins.merging.search.config import SearchConfig
from fin_plugins.merging.search.samplers import proposals, shares


def config(sampler: str, **more: Any) -> SearchConfig:
    experts = {
        "a": {"path": "a", "tasks": ["x"]},
        "b": {"path": "b", "tasks": ["y"], "weight": {"low": -1.0, "high": 0.2}},
    }
    return SearchConfig.model_validate({"base": "b", "experts": experts, "sampler": sampler, **more})


def asked(of: SearchConfig, values: list[float]) -> list[dict[str, float]]:
    """What is proposed where the candidates are worth these values."""
    proposed = proposals(of)
    return [next(proposed), *(proposed.send(value) for value in values)]


@pytest.mark.parametrize("sampler", ["random", "cma", "grid"])
@settings(max_examples=15, deadline=None)
@given(values=st.lists(st.floats(-5, 1), min_size=24, max_size=24), seed=st.integers(0, 2**32 - 1))
def test_proposals_follow_from_the_file_and_what_was_told(sampler: str, values: list[float], seed: int) -> None:
    if sampler == "cma":
        pytest.importorskip("cmaes")
    found = asked(config(sampler, seed=seed), values)
    assert found == asked(config(sampler, seed=seed), values)
    assert all(0 <= one["a"] <= 1 and -1 <= one["b"] <= 0.2 for one in found)
    assert all(round(weight, 4) == weight for one in found for weight in one.values())


def test_a_grid_is_every_point_once() -> None:
    of = config("grid", steps=3)
    points = [(one["a"], one["b"]) for one in islice(proposals(of), 100)]
    assert len(points) == of.count == len(set(points)) == 9
    assert points[0] == (0, -1) and points[4] == (0.5, -0.4) and points[-1] == (1, 0.2)


def test_the_first_random_candidate_is_the_merge_without_a_search() -> None:
    assert next(proposals(config("random"))) == shares(config("random").ranges()) == {"a": 0.5, "b": 0.2}
    first, other = (list(islice(proposals(config("random", seed=seed)), 5)) for seed in (0, 1))
    assert first[1:] != other[1:] and len({tuple(one.values()) for one in first}) == 5


def test_cma_finds_the_top_of_a_hill() -> None:
    pytest.importorskip("cmaes")
    proposed = proposals(config("cma"))
    one = next(proposed)
    for _ in range(150):
        one = proposed.send(-((one["a"] - 0.8) ** 2) - (one["b"] + 0.7) ** 2)
    assert abs(one["a"] - 0.8) < 0.05 and abs(one["b"] + 0.7) < 0.05
