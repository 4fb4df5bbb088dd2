import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_plugins.merging.low_rank import LowRankMatrix, weighted_sum
from fin_plugins.merging.merge_error import DeltaRoundingError, round_factors, tensor_group

pytestmark = pytest.mark.usefixtures("one_thread")


def random_sum(seed: int, dtype: torch.dtype = torch.float32) -> LowRankMatrix:
    """Half of the sum of two matrices of rank 4, whose factors were saved in the type."""
    torch.manual_seed(seed)
    factors = [(torch.randn(32, 4).to(dtype).double(), torch.randn(4, 24).to(dtype).double()) for _ in range(2)]
    total = weighted_sum([(0.5, LowRankMatrix(up, down)) for up, down in factors])
    assert total is not None
    return total


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.sampled_from([("float32", 1e-7), ("bfloat16", 3e-3)]))
def test_rounding_is_measured(seed: int, dtype: tuple[str, float]) -> None:
    exact = random_sum(seed)
    error, written = round_factors("module", exact, exact, dtype[0])
    actual = float(torch.linalg.norm(written.up.double() @ written.down.double() - exact.dense())) / exact.norm()
    assert actual <= dtype[1]
    assert error.rounding == pytest.approx(actual, rel=1e-3, abs=3e-8) and error.residual == 0


def test_halves_of_adapters_saved_in_bfloat16_lose_nothing() -> None:
    exact = random_sum(0, torch.bfloat16)
    assert round_factors("module", exact, exact, "bfloat16")[0].rounding == 0


def test_groups_are_layers_in_order_and_other_modules() -> None:
    error, base = DeltaRoundingError(), torch.zeros(2)
    for name in ("model.layers.10.a.weight", "lm_head.weight", "model.layers.2.a.weight", "model.layers.2.b.weight"):
        error.add(name, torch.ones(2), base, torch.full((2,), 0.5 if "layers.2" in name else 1.0))
    assert list(error.by_group().items()) == [("layer 2", 0.5), ("layer 10", 0.0), ("lm_head", 0.0)]
    assert error.overall() == pytest.approx(0.5 * 0.5**0.5)
    assert tensor_group("model.norm.weight") == "norm"
