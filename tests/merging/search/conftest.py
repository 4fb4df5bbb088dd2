"""One world for all tests of searches."""

from pathlib import Path

import pytest

from tests.merging.search.search_factories import SearchWorld, make_search_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> SearchWorld:
    return make_search_world(tmp_path_factory.mktemp("search") / "world", tiny_models["base"])
