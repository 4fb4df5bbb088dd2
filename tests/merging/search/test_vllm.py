"""The same search on one real vLLM engine: what transformers answers, and nothing left in memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fin_plugins.data import guard
from fin_plugins.merging.search.config import SearchConfig
from fin_plugins.merging.search.engines import Engine, start_engine
from fin_plugins.merging.search.prepare import Prepared, prepare
from tests.evaluation.making import adapter
from tests.merging.search.worlds import World

pytest.importorskip("vllm", reason="vLLM is not installed here")
FACTORS = [{"one": 0.0, "two": 0.0}, {"one": 0.7, "two": -0.3}, {"one": 0.0, "two": 1.0}]


@pytest.fixture(scope="module")
def config(world: World, demo_model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> SearchConfig:
    folder, settings = tmp_path_factory.mktemp("experts"), world.settings
    for name, rank in (("one", 4), ("two", 3)):
        path = adapter(folder / name, demo_model_path, 0.02, r=rank, target_modules=["q_proj", "v_proj"])
        settings["experts"][name]["path"] = str(path)
    arguments = {"dtype": "float32", "max_model_len": 256, "enforce_eager": True}
    return SearchConfig.model_validate(
        {**settings, "base": str(demo_model_path), "model": "fin_vllm", "model_args": arguments, "chat_template": False}
    )


@pytest.fixture(scope="module")
def prepared(config: SearchConfig) -> Prepared:
    with guard.test_rows_closed():
        return prepare(config)


@pytest.fixture(scope="module")
def engine(config: SearchConfig, prepared: Prepared, scratch: Path) -> Iterator[Engine]:
    engine = start_engine(config, prepared.stack, scratch)
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


def test_answers_and_divergences_are_those_of_transformers(
    engine: Engine, config: SearchConfig, prepared: Prepared, scratch: Path, tmp_path: Path
) -> None:
    theirs = SearchConfig.model_validate({**config.model_dump(), "model": "fin_hf", "model_args": {"dtype": "float32"}})
    other = start_engine(theirs, prepared.stack, tmp_path)
    for one in (engine, other):
        one.use(FACTORS[0])
        one.remember_base(prepared.rows.prompts)
    for factors in FACTORS:
        found = []
        for one in (engine, other):
            one.use(factors)
            found.append(([one.answers(rows) for rows in prepared.rows.tasks.values()], one.divergences()))
        (answers, ours), (expected, exact) = found
        assert sum(a != b for x, y in zip(answers, expected, strict=True) for a, b in zip(x, y, strict=True)) <= 1
        assert all(low <= high + 1e-4 for low, high in zip(ours, exact, strict=True))
        assert sum(ours) >= 0.5 * sum(exact)
        assert len(list(scratch.iterdir())) == int(any(factors.values()))
