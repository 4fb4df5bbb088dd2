"""What all tests of the model classes share."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny models lose by threads, and ten times over where another process wants the same cores."""
    import torch

    torch.set_num_threads(1)
