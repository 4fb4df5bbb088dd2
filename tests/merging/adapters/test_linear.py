import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_plugins.merging.adapters.factors import Product
from fin_plugins.merging.adapters.linear import compress, concatenate, difference
from fin_plugins.merging.adapters.measure import rounded

SCALES = st.floats(-3, 3, allow_subnormal=False).filter(lambda weight: abs(weight) > 1e-3)
TERMS = st.lists(st.tuples(SCALES, st.integers(1, 9)), min_size=1, max_size=4)


def products(out: int, into: int, ranks: list[int], seed: int, dtype: torch.dtype = torch.float32) -> list[Product]:
    torch.manual_seed(seed)
    drawn = [(torch.randn(out, rank), torch.randn(rank, into)) for rank in ranks]
    return [Product(up.to(dtype).double(), down.to(dtype).double()) for up, down in drawn]


@settings(max_examples=60, deadline=None)
@given(TERMS, st.integers(16, 40), st.integers(16, 40), st.integers(0, 99))
def test_side_by_side_is_the_weighted_sum(terms: list[tuple[float, int]], out: int, into: int, seed: int) -> None:
    weights, ranks = [weight for weight, _ in terms], [rank for _, rank in terms]
    parts = products(out, into, ranks, seed)
    merged = concatenate(list(zip(weights, parts, strict=True)))
    assert merged is not None and merged.rank == sum(ranks)
    exact = sum(weight * part.up @ part.down for weight, part in zip(weights, parts, strict=True))
    norm = float(torch.linalg.norm(exact))
    assert float(torch.linalg.norm(merged.dense() - exact)) <= 1e-13 * norm
    assert merged.norm() == pytest.approx(norm, rel=1e-10)
    small = compress(merged)
    assert small.rank == min(sum(ranks), out, into)
    assert difference(merged, small) <= 1e-6 * norm
    for dtype, allowed in (("float32", 1e-7), ("bfloat16", 3e-3)):
        layer, written = rounded("m", merged, merged, dtype)
        error = float(torch.linalg.norm(written.up.double() @ written.down.double() - exact)) / norm
        assert error <= allowed
        assert layer.rounding == pytest.approx(error, rel=1e-3, abs=3e-8) and layer.residual == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(16, 40), st.integers(0, 99))
def test_a_lower_rank_is_the_best_of_that_rank(rank: int, out: int, seed: int) -> None:
    merged = concatenate([(1.0, part) for part in products(out, 24, [5, 7], seed)])
    assert merged is not None
    best = float(torch.linalg.svdvals(merged.dense())[rank:].norm())
    low = compress(merged, rank)
    assert low.rank == rank
    assert float((low.dense() - merged.dense()).norm()) == pytest.approx(best, rel=1e-9, abs=1e-9)
    assert difference(low, merged) == pytest.approx(best, rel=1e-4, abs=1e-5)


def test_halves_of_adapters_saved_in_bfloat16_lose_nothing() -> None:
    merged = concatenate([(0.5, part) for part in products(32, 24, [4, 4], 0, torch.bfloat16)])
    assert merged is not None
    assert rounded("m", merged, merged, "bfloat16")[0].rounding == 0


def test_equal_parts_take_one_rank() -> None:
    (part,) = products(32, 24, [4], 0)
    merged = concatenate([(0.25, part)] * 4)
    assert merged is not None and merged.rank == 16
    small = compress(merged)
    assert small.rank == 4 and difference(small, part) < 1e-7 * part.norm()


def test_nothing_left() -> None:
    (part,) = products(32, 24, [4], 0)
    assert concatenate([(1.0, part), (-1.0, part)]) is None
    assert concatenate([(0.0, part)]) is None
    assert concatenate([]) is None
    assert concatenate([(1.0, Product(torch.zeros(32, 4).double(), part.down))]) is None
