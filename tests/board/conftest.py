"""Fixtures shared by the board's tests: one run made by lm-eval, and one synthetic board."""

import pytest

from fin_plugins.board.board_data import Board
from tests.board import boards
from tests.board.reading.result_fixtures import Run, make_run


@pytest.fixture(scope="session")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that tests copy and never change."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIN_DATA", "sample")
        patch.setattr("torch.utils.collect_env.get_pretty_env_info", lambda: "PyTorch version: 2.13.0+cpu\nGPU 0: Big")
        return make_run(tmp_path_factory.mktemp("real"))


@pytest.fixture(scope="session")
def full_board() -> Board:
    """See `boards.board`."""
    return boards.board()
