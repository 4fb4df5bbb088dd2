"""A world a test."""

from pathlib import Path

import pytest

from tests.experiments.planning.worlds import World, make_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)
