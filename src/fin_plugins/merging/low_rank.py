"""Matrices as products of two factors: exact weighted sums, and the best approximation of a lower rank."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

# Singular values below this share of the largest are lost in float32 anyway.
_NUMERICAL_ZERO = 1e-7
# Up to this number of rows or columns (or near the rank), exact factors cost less than a second.
_EXACT_SIZE = 1024


@dataclass(frozen=True)
class LowRankMatrix:
    """The matrix `up @ down`, with `up` of shape `[out, rank]` and `down` of shape `[rank, in]`."""

    up: torch.Tensor
    down: torch.Tensor

    @property
    def rank(self) -> int:
        """Number of columns of `up`; the matrix's own rank may be lower."""
        return int(self.down.shape[0])

    def dense(self) -> torch.Tensor:
        """The matrix itself."""
        return self.up @ self.down

    def to(self, *arguments: torch.dtype | torch.device) -> "LowRankMatrix":
        """Both factors in another type or on another device."""
        return LowRankMatrix(self.up.to(*arguments), self.down.to(*arguments))

    def norm(self) -> float:
        """The Frobenius norm, computed in float64 without forming the matrix."""
        up, down = self.up.double(), self.down.double()
        return math.sqrt(max(float(((up.T @ up) * (down @ down.T)).sum()), 0.0))


def weighted_sum(terms: Sequence[tuple[float, LowRankMatrix]]) -> LowRankMatrix | None:
    """The weighted sum of matrices by concatenating their factors; its rank is the sum of their ranks.

    The weights go into `up`, so `down` keeps the bits of the adapters: factors saved in bfloat16 are written in
    bfloat16 without any error.

    Args:
        terms: weight and matrix of each term.

    Returns:
        The sum; None if it is numerically zero.
    """
    nonzero = [(weight, matrix) for weight, matrix in terms if weight]
    if not nonzero:
        return None
    up = torch.cat([weight * matrix.up for weight, matrix in nonzero], dim=1)
    total = LowRankMatrix(up, torch.cat([matrix.down for _, matrix in nonzero]))
    scale = sum(abs(weight) * matrix.norm() for weight, matrix in nonzero)
    return total if total.norm() > _NUMERICAL_ZERO * scale else None


def truncate(matrix: LowRankMatrix, rank: int | None = None) -> LowRankMatrix:
    """The matrix at its numerical rank, or its best approximation of a lower rank, without forming it.

    QR decomposition of both factors and SVD of the small matrix between them, in float64.

    Args:
        matrix: the matrix.
        rank: maximum rank; None for the numerical rank.
    """
    left, left_small = torch.linalg.qr(matrix.up.double())
    right, right_small = torch.linalg.qr(matrix.down.double().T)
    u, s, v = torch.linalg.svd(left_small @ right_small.T, full_matrices=False)
    keep = max(1, int((s > s[0] * _NUMERICAL_ZERO).sum()))
    keep = min(keep, rank) if rank else keep
    root = s[:keep].sqrt()
    return LowRankMatrix(left @ (u[:, :keep] * root), (root[:, None] * v[:keep]) @ right.T)


def distance(first: LowRankMatrix, second: LowRankMatrix) -> float:
    """Frobenius norm of the difference of two matrices, without forming them."""
    up = torch.cat([first.up.double(), -second.up.double()], dim=1)
    return LowRankMatrix(up, torch.cat([first.down.double(), second.down.double()])).norm()


def factorize(matrix: torch.Tensor, rank: int, seed: int = 0, exact_size: int = _EXACT_SIZE) -> LowRankMatrix:
    """The best approximation of a dense matrix of a given rank.

    Small matrices are factored exactly. Large ones are factored by random projections, which come within about one per
    cent of the best and take minutes where exact factors would take hours.

    Args:
        matrix: the matrix, in float32.
        rank: maximum rank.
        seed: seed of the projections; the caller's random state stays as it is.
        exact_size: number of rows or columns up to which factors are exact.
    """
    rank = min(rank, *matrix.shape)
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    if len(wide) <= max(exact_size, 3 * rank):
        _, vectors = torch.linalg.eigh(wide.double() @ wide.double().T)
        left = vectors[:, -rank:].float()
    else:
        with torch.random.fork_rng(devices=[matrix.device] if matrix.is_cuda else []):
            torch.manual_seed(seed)
            left = torch.svd_lowrank(wide, q=min(rank + 16, len(wide)), niter=4)[0][:, :rank]
    right = left.T @ wide
    if wide is matrix:
        return LowRankMatrix(left, right)
    return LowRankMatrix(right.T.contiguous(), left.T.contiguous())


def required_rank(matrix: torch.Tensor, max_residual: float) -> int:
    """The lowest rank whose best approximation loses at most a share `max_residual` of the matrix's norm."""
    wide = (matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T).double()
    energy = torch.linalg.eigvalsh(wide @ wide.T).clamp(min=0)  # ascending
    lost = energy.cumsum(0) / energy.sum()
    return max(1, len(wide) - int((lost <= max_residual**2).sum()))
