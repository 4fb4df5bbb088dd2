"""One run that lm-eval made, for all tests of reading and export."""

import pytest

from tests.board.reading.runs import Run, make_run


@pytest.fixture(scope="session")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Not to be changed; tests copy it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIN_DATA", "sample")
        patch.setattr("torch.utils.collect_env.get_pretty_env_info", lambda: "PyTorch version: 2.13.0+cpu\nGPU 0: Big")
        return make_run(tmp_path_factory.mktemp("real"))
