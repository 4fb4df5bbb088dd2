"""A tiny base and its experts, shared by all tests of merging."""

from pathlib import Path

import pytest

from tests.merging.model_factories import make_adapter, make_base, make_checkpoint


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "base", tiny_models["llama3"])


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, base: Path) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    sizes = {"one": 0.01, "two": 0.02, "three": 0.015}
    return {name: make_checkpoint(folder / name, base, seed, size) for seed, (name, size) in enumerate(sizes.items())}


@pytest.fixture(scope="session")
def adapters(tmp_path_factory: pytest.TempPathFactory, base: Path) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {name: make_adapter(folder / name, base, seed) for seed, name in enumerate("ab")}
