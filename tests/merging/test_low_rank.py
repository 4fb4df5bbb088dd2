import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_plugins.merging.low_rank import (
    LowRankMatrix,
    distance,
    factorize,
    required_rank,
    truncate,
    weighted_sum,
)

pytestmark = pytest.mark.usefixtures("one_thread")

WEIGHTS = st.floats(-3, 3, allow_subnormal=False).filter(lambda weight: abs(weight) > 1e-3)
TERMS = st.lists(st.tuples(WEIGHTS, st.integers(1, 9)), min_size=1, max_size=4)


def random_matrices(rows: int, columns: int, ranks: list[int], seed: int) -> list[LowRankMatrix]:
    torch.manual_seed(seed)
    return [LowRankMatrix(torch.randn(rows, rank).double(), torch.randn(rank, columns).double()) for rank in ranks]


@settings(max_examples=60, deadline=None)
@given(TERMS, st.integers(16, 40), st.integers(16, 40), st.integers(0, 99))
def test_weighted_sum(terms: list[tuple[float, int]], rows: int, columns: int, seed: int) -> None:
    weights, ranks = [weight for weight, _ in terms], [rank for _, rank in terms]
    matrices = random_matrices(rows, columns, ranks, seed)
    total = weighted_sum(list(zip(weights, matrices, strict=True)))
    assert total is not None and total.rank == sum(ranks)
    exact = sum(weight * matrix.up @ matrix.down for weight, matrix in zip(weights, matrices, strict=True))
    norm = float(torch.linalg.norm(exact))
    assert float(torch.linalg.norm(total.dense() - exact)) <= 1e-13 * norm
    assert total.norm() == pytest.approx(norm, rel=1e-10)
    truncated = truncate(total)
    assert truncated.rank == min(sum(ranks), rows, columns)
    assert distance(total, truncated) <= 1e-6 * norm


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(16, 40), st.integers(0, 99))
def test_truncation_is_the_best_of_its_rank(rank: int, rows: int, seed: int) -> None:
    total = weighted_sum([(1.0, matrix) for matrix in random_matrices(rows, 24, [5, 7], seed)])
    assert total is not None
    best = float(torch.linalg.svdvals(total.dense())[rank:].norm())
    truncated = truncate(total, rank)
    assert truncated.rank == rank
    assert float((truncated.dense() - total.dense()).norm()) == pytest.approx(best, rel=1e-9, abs=1e-9)
    assert distance(truncated, total) == pytest.approx(best, rel=1e-4, abs=1e-5)


def test_equal_terms_need_one_rank() -> None:
    (matrix,) = random_matrices(32, 24, [4], 0)
    total = weighted_sum([(0.25, matrix)] * 4)
    assert total is not None and total.rank == 16
    truncated = truncate(total)
    assert truncated.rank == 4 and distance(truncated, matrix) < 1e-7 * matrix.norm()


def test_a_sum_that_cancels_out_is_none() -> None:
    (matrix,) = random_matrices(32, 24, [4], 0)
    assert weighted_sum([(1.0, matrix), (-1.0, matrix)]) is None
    assert weighted_sum([(0.0, matrix)]) is None


@settings(deadline=None)
@given(st.integers(1, 7), st.integers(1, 7))
def test_required_rank(height: int, rank: int) -> None:
    torch.manual_seed(height)
    singular_values = torch.linalg.svdvals(matrix := torch.randn(height, 7).double())
    rank = min(rank, height)
    residual = float(singular_values[rank:].norm() / singular_values.norm())
    assert required_rank(matrix, residual + 1e-6) == rank


def test_random_projections_of_large_matrices_are_nearly_the_best() -> None:
    torch.manual_seed(0)
    wide_rank = torch.randn(200, 30) @ torch.randn(30, 90) + 0.5 * torch.randn(200, 90)
    for matrix in (wide_rank, wide_rank.T):
        exact = float(torch.linalg.svdvals(matrix.double())[20:].norm())
        assert float((matrix - factorize(matrix, 20).dense()).norm()) == pytest.approx(exact, rel=1e-4)
        assert required_rank(matrix, exact / float(matrix.norm()) * 1.0001) == 20
        projected = factorize(matrix, 20, exact_size=10)
        assert projected.rank == 20 and projected.up.shape == (len(matrix), 20)
        assert float((matrix - projected.dense()).norm()) == pytest.approx(exact, rel=0.02)
        assert torch.equal(projected.up, factorize(matrix, 20, exact_size=10).up)
