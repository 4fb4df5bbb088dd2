"""The same search on a real vLLM engine: the answers of transformers, and nothing left in memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fin_plugins.data import split_guard
from fin_plugins.merging.search.search_config import SearchConfig
from fin_plugins.merging.search.search_engines import SearchEngine, start_engine
from fin_plugins.merging.search.search_setup import PreparedSearch, prepare_search
from tests.evaluation.factories import adapter
from tests.merging.search.search_factories import SearchWorld

pytest.importorskip("vllm", reason="vLLM is not installed here")
BASE = {"one": 0.0, "two": 0.0}
COEFFICIENTS = [BASE, {"one": 0.7, "two": -0.3}, {"one": 0.0, "two": 1.0}]


@pytest.fixture(scope="module")
def config(world: SearchWorld, demo_model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> SearchConfig:
    folder, settings = tmp_path_factory.mktemp("experts"), world.settings
    for name, rank in (("one", 4), ("two", 3)):
        path = adapter(folder / name, demo_model_path, 0.02, r=rank, target_modules=["q_proj", "v_proj"])
        settings["experts"][name]["path"] = str(path)
    arguments = {"dtype": "float32", "max_model_len": 256, "enforce_eager": True}
    return SearchConfig.model_validate(
        {**settings, "base": str(demo_model_path), "model": "fin_vllm", "model_args": arguments, "chat_template": False}
    )


@pytest.fixture(scope="module")
def prepared(config: SearchConfig) -> PreparedSearch:
    with split_guard.block_test_split():
        return prepare_search(config)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def engine(config: SearchConfig, prepared: PreparedSearch, scratch: Path) -> Iterator[SearchEngine]:
    engine = start_engine(config, prepared.adapters, scratch)
    yield engine
    engine.stop()


def test_answers_and_divergences_are_those_of_transformers(
    engine: SearchEngine, config: SearchConfig, prepared: PreparedSearch, scratch: Path, tmp_path: Path
) -> None:
    hf_config = SearchConfig.model_validate(
        {**config.model_dump(), "model": "fin_hf", "model_args": {"dtype": "float32"}}
    )
    engines = (engine, start_engine(hf_config, prepared.adapters, tmp_path))
    for each in engines:
        each.use(BASE)
        each.record_base(prepared.rows.prompts)
    for coefficients in COEFFICIENTS:
        for each in engines:
            each.use(coefficients)
        answers, hf_answers = (
            [label for rows in prepared.rows.tasks.values() for label in each.answers(rows)] for each in engines
        )
        assert sum(a != b for a, b in zip(answers, hf_answers, strict=True)) <= 1
        bounds, exact = (each.divergences() for each in engines)
        assert all(low <= high + 1e-4 for low, high in zip(bounds, exact, strict=True))
        assert sum(bounds) >= 0.5 * sum(exact)
        assert len(list(scratch.iterdir())) == int(any(coefficients.values()))
