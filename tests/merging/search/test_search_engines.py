"""Candidates on a running engine: in place they are what the adapter on disk is, and nothing is left behind."""

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_plugins.data import split_guard
from fin_plugins.merging.search import stacked_adapters
from fin_plugins.merging.search.search_config import SearchConfig
from fin_plugins.merging.search.search_engines import HFSearchEngine, start_engine, top_token_divergence
from fin_plugins.merging.search.search_setup import PreparedSearch, prepare_search
from fin_plugins.merging.search.stacked_adapters import scratch_folder
from fin_plugins.scoring.fin_hf import FinHF
from tests.merging.search.search_factories import SearchWorld

pytestmark = pytest.mark.usefixtures("one_thread")
BASE = {"one": 0.0, "two": 0.0}
COEFFICIENTS = [BASE, {"one": 0.7, "two": -0.3}, {"one": 0.0, "two": 1.0}, {"one": 0.2, "two": 0.9}]


@pytest.fixture(scope="module")
def config(world: SearchWorld) -> SearchConfig:
    return SearchConfig.model_validate(world.settings)


@pytest.fixture(scope="module")
def prepared(config: SearchConfig) -> PreparedSearch:
    with split_guard.block_test_split():
        return prepare_search(config)


def likelihoods(lm: FinHF, prepared: PreparedSearch) -> list[float]:
    requests = [request for rows in prepared.rows.tasks.values() for row in rows.requests for request in row]
    return [score for score, _ in lm.loglikelihood(requests, disable_tqdm=True)]


def test_factors_in_place_are_the_written_adapter(
    world: SearchWorld, config: SearchConfig, prepared: PreparedSearch, tmp_path: Path
) -> None:
    engine = start_engine(config, prepared.adapters, tmp_path)
    assert isinstance(engine, HFSearchEngine) and not list(tmp_path.iterdir())
    other = FinHF(pretrained=str(world.base), device="cpu", batch_size=16)
    scores = []
    for number, coefficients in enumerate([*COEFFICIENTS, BASE]):
        engine.use(coefficients)
        other.use_adapter(prepared.adapters.write(tmp_path / str(number), coefficients))
        scores.append(likelihoods(engine.lm, prepared))
        assert scores[-1] == pytest.approx(likelihoods(other, prepared), abs=2e-5)
    assert scores[0] == scores[-1] and all(math.dist(scores[0], it) > 1 for it in scores[1:-1])


def test_the_base_does_not_diverge_from_itself(config: SearchConfig, prepared: PreparedSearch, tmp_path: Path) -> None:
    engine = start_engine(config, prepared.adapters, tmp_path)
    engine.use(BASE)
    engine.record_base(prepared.rows.prompts)
    assert max(engine.divergences()) == 0
    engine.use(COEFFICIENTS[1])
    assert min(engine.divergences()) > 1e-4


PROBABILITIES = st.lists(st.floats(0.01, 1), min_size=5, max_size=5)


@settings(deadline=None)
@given(PROBABILITIES, PROBABILITIES, st.integers(1, 5))
def test_top_tokens_give_a_lower_bound_of_the_divergence(first: list[float], second: list[float], known: int) -> None:
    p, q = ([value / sum(values) for value in values] for values in (first, second))
    exact = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    base, other = ({token: math.log(value) for token, value in enumerate(values[:known])} for values in (p, q))
    assert 0 <= top_token_divergence(base, other) <= exact + 1e-6
    assert top_token_divergence(base, base) == pytest.approx(0, abs=1e-9)


def test_scratch_folders_of_killed_searches_are_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(stacked_adapters, "MEMORY_FOLDER", tmp_path)
    left_behind = tmp_path / "fin-search-abc"
    (left_behind / "1").mkdir(parents=True)
    with scratch_folder(1) as folder, scratch_folder(1) as other, scratch_folder(1 << 60) as elsewhere:
        assert folder.parent == other.parent == tmp_path and folder.is_dir() and not left_behind.exists()
        assert elsewhere.parent != tmp_path and elsewhere.is_dir()
    assert not list(tmp_path.iterdir())
