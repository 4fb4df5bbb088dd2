"""Weighted sums of adapters as one adapter: the factors side by side, nothing approximated."""

from collections.abc import Callable, Mapping, Sequence

import torch

from fin_plugins.common.errors import FinError
from fin_plugins.merging.adapters.factors import Product
from fin_plugins.merging.adapters.plan import BASE, Step

# A singular value below this share of the largest is lost in float32 anyway.
_NUMERICAL_ZERO = 1e-7


def is_linear(method: str) -> bool:
    """Whether what the method makes of adapters is a weighted sum of them, with weights known beforehand."""
    return method in _METHODS


def weights(step: Step) -> dict[str, float]:
    """What each expert's change counts for in a tensor of a linear merge.

    Raises:
        FinError: the merge would scale the base's own weight.
    """
    return {name: weight for name, weight in _METHODS[step.method](step).items() if name != BASE}


def _task_arithmetic(step: Step) -> dict[str, float]:
    given = _given(step, "weight")
    total = sum(given.values()) if step.shared["normalize"] else 1.0
    factor = step.shared["lambda"] / (total if abs(total) >= 1e-8 else 1.0)  # mergekit does not divide by less
    found = {name: weight * factor for name, weight in given.items()}
    # The method's base may be an expert: what the others do not count for, it does.
    return found if step.base in (None, BASE) else {**found, str(step.base): 1 - sum(found.values())}


def _average(step: Step) -> dict[str, float]:
    given = _given(step, "weight")
    total = sum(given.values())
    if abs(total) < 1e-8 or (not step.shared["normalize"] and abs(total - 1) > 1e-6):
        raise FinError(
            f"{step.weight}: the weights sum to {total:g}, so that the merge scales the base's own weights, which no "
            "adapter can: set normalize: true or weights that sum to 1, or use task_arithmetic"
        )
    return {name: weight / total for name, weight in given.items()}


def _copy(step: Step) -> dict[str, float]:
    scale = _given(step, "scale")
    if any(value is not None and value != 1 for value in scale.values()):
        raise FinError(
            f"{step.weight}: scale {next(iter(scale.values()))} scales the base's own weights, which no adapter can: "
            "leave scale out, or merge into a checkpoint (without --as-adapter)"
        )
    return dict.fromkeys(step.inputs, 1.0)


def _given(step: Step, parameter: str) -> Mapping[str, float]:
    return step.own.get(parameter, {})


_METHODS: dict[str, Callable[[Step], dict[str, float]]] = {
    "task_arithmetic": _task_arithmetic,
    "linear": _average,
    "passthrough": _copy,
}


def concatenate(terms: Sequence[tuple[float, Product]]) -> Product | None:
    """The weighted sum of products as one product, whose rank is the sum of theirs; None where nothing is left.

    Each weight goes into `up` alone: `down` keeps the bits of the adapters, which where they were saved in bfloat16
    are then written in bfloat16 without any error.
    """
    kept = [(weight, product) for weight, product in terms if weight]
    if not kept:
        return None
    up = torch.cat([weight * product.up for weight, product in kept], dim=1)
    merged = Product(up, torch.cat([product.down for _, product in kept]))
    parts = sum(abs(weight) * product.norm() for weight, product in kept)
    return merged if merged.norm() > _NUMERICAL_ZERO * parts else None


def compress(product: Product, rank: int | None = None) -> Product:
    """The same matrix at its numerical rank, or the best one of a lower rank, without forming it.

    QR of both factors, and the singular values of the small matrix between them, in float64.

    Args:
        product: what to compress.
        rank: at most this rank; None for the numerical one.
    """
    left, small_left = torch.linalg.qr(product.up.double())
    right, small_right = torch.linalg.qr(product.down.double().T)
    u, s, v = torch.linalg.svd(small_left @ small_right.T, full_matrices=False)
    keep = max(1, int((s > s[0] * _NUMERICAL_ZERO).sum()))
    keep = min(keep, rank) if rank else keep
    root = s[:keep].sqrt()
    return Product(left @ (u[:, :keep] * root), (root[:, None] * v[:keep]) @ right.T)


def difference(one: Product, other: Product) -> float:
    """Frobenius norm of the difference of two matrices, without forming them."""
    up = torch.cat([one.up.double(), -other.up.double()], dim=1)
    return Product(up, torch.cat([one.down.double(), other.down.double()])).norm()
