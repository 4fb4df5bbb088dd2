"""Candidates on the running engine: in place they are what the adapter on disk is, and nothing is left behind."""

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_plugins.data import guard
from fin_plugins.merging.search.candidates import scratch_folder
from fin_plugins.merging.search.config import SearchConfig
from fin_plugins.merging.search.engines import HFEngine, _coarse, start_engine
from fin_plugins.merging.search.prepare import Prepared, prepare
from fin_plugins.scoring.hf import FinHF
from tests.merging.search.worlds import World

pytestmark = pytest.mark.usefixtures("one_thread")
FACTORS = [{"one": 0.0, "two": 0.0}, {"one": 0.7, "two": -0.3}, {"one": 0.0, "two": 1.0}, {"one": 0.2, "two": 0.9}]


@pytest.fixture(scope="module")
def prepared(world: World) -> Prepared:
    with guard.test_rows_closed():
        return prepare(SearchConfig.model_validate(world.settings))


def scored(lm: FinHF, prepared: Prepared) -> list[float]:
    asked = [request for rows in prepared.rows.tasks.values() for row in rows.requests for request in row]
    return [score for score, _ in lm.loglikelihood(asked, disable_tqdm=True)]


def test_in_place_is_what_the_written_adapter_is(world: World, prepared: Prepared, tmp_path: Path) -> None:
    engine = start_engine(SearchConfig.model_validate(world.settings), prepared.stack, tmp_path)
    assert isinstance(engine, HFEngine) and not list(tmp_path.iterdir())
    other = FinHF(pretrained=str(world.base), device="cpu", batch_size=16)
    seen = []
    for number, factors in enumerate([*FACTORS, FACTORS[0]]):
        engine.use(factors)
        other.use_adapter(prepared.stack.write(tmp_path / str(number), factors))
        seen.append(scored(engine.lm, prepared))
        assert seen[-1] == pytest.approx(scored(other, prepared), abs=2e-5)
    assert seen[0] == seen[-1] and all(math.dist(seen[0], one) > 1 for one in seen[1:-1])


def test_the_divergence_of_a_model_from_itself_is_zero(world: World, prepared: Prepared, tmp_path: Path) -> None:
    engine = start_engine(SearchConfig.model_validate(world.settings), prepared.stack, tmp_path)
    engine.use(FACTORS[0])
    engine.remember_base(prepared.rows.prompts)
    assert max(engine.divergences()) == 0
    engine.use(FACTORS[1])
    assert min(engine.divergences()) > 1e-4


probabilities = st.lists(st.floats(0.01, 1), min_size=5, max_size=5)


@settings(deadline=None)
@given(probabilities, probabilities, st.integers(1, 5))
def test_few_tokens_give_at_most_the_exact_divergence(first: list[float], second: list[float], known: int) -> None:
    p, q = ([value / sum(values) for value in values] for values in (first, second))
    exact = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    base, other = ({token: math.log(value) for token, value in enumerate(values[:known])} for values in (p, q))
    assert 0 <= _coarse(base, other) <= exact + 1e-6
    assert _coarse(base, base) == pytest.approx(0, abs=1e-9)


def test_scratch_folders_of_killed_searches_are_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from fin_plugins.merging.search import candidates

    monkeypatch.setattr(candidates, "_RAM", tmp_path)
    left = tmp_path / "fin-search-abc"
    (left / "1").mkdir(parents=True)
    with scratch_folder(1) as folder, scratch_folder(1) as other, scratch_folder(1 << 60) as elsewhere:
        assert folder.parent == other.parent == tmp_path and folder.is_dir() and not left.exists()
        assert elsewhere.parent != tmp_path and elsewhere.is_dir()
    assert not list(tmp_path.iterdir())
