"""How far a written merge is from the exact one: residuals of low ranks, and rounding to the written type.

All errors are Frobenius norms, as a share of the norm of the merged change of the base.
"""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch

from fin_plugins.common.errors import FinError
from fin_plugins.merging.low_rank import LowRankMatrix, distance, required_rank, truncate

TORCH_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MAX_RANK = 512
"""The largest rank that vLLM serves."""
# Two real adapters of rank 16 (SmolLM2-135M): slerp, nuslerp, multislerp and karcher lose under 1 % at rank 32; at
# density 0.5 ties loses 31 % there and 21 % at rank 128, dare_ties 44 % at 128, ram 4 % at 128.
MAX_RESIDUAL = 0.1
"""Default limit for the share of a module's change that its rank may lose."""
# Rounding to bfloat16 loses 32 % of a change of 1 % of the weights' norm (typical of usual learning rates), 13 % of one
# of 3 %, and 81 % of one of 0.3 %. Beyond a half, the result is more rounding than merge.
MAX_ROUNDING = 0.5
"""Default limit for the share of a checkpoint's merged change that rounding may lose."""
_MAX_FACTOR_ROUNDING = 0.003  # of an adapter's module; bfloat16 usually costs 0.2 %
_LAYER_NUMBER = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True)
class ModuleError:
    """One module of a merged adapter and its errors.

    Attributes:
        module: name of the module in the model.
        rank: rank of the written factors.
        norm: norm of the exact merged change.
        residual: share lost to the rank; 0 if the factors were concatenated.
        rounding: share lost by rounding the factors to the written type.
    """

    module: str
    rank: int
    norm: float
    residual: float
    rounding: float


def overall_share(shares: Iterable[tuple[float, float]]) -> float:
    """The error over several modules, given norm and error of each."""
    pairs = list(shares)
    return math.hypot(*(norm * share for norm, share in pairs)) / math.hypot(*(norm for norm, _ in pairs))


def round_factors(
    module: str, exact: LowRankMatrix | torch.Tensor, factored: LowRankMatrix, dtype: str
) -> tuple[ModuleError, LowRankMatrix]:
    """Round the factors of a module to the type to be written, and measure the errors.

    If experts nearly cancel out, the rounding of each is large compared with their sum; the sum is then factored anew.

    Args:
        module: name of the module.
        exact: its exact change.
        factored: its change at the rank to be written.
        dtype: type to be written.

    Raises:
        FinError: the type cannot represent the merge.
    """
    rounded = factored.to(TORCH_DTYPES[dtype])
    norm = factored.norm()
    if dtype != "float32" and distance(factored, rounded) > _MAX_FACTOR_ROUNDING * norm:
        rounded = truncate(factored).to(TORCH_DTYPES[dtype])
    rounding = distance(factored, rounded) / norm
    if not rounding <= _MAX_FACTOR_ROUNDING:  # also true for NaN
        raise FinError(f"{module}: rounding to {dtype} loses {rounding:.2%} of the merged change: pass --dtype float32")
    exact_norm, residual = _residual(exact, factored)
    return ModuleError(module, rounded.rank, exact_norm, residual, rounding), rounded


def _residual(exact: LowRankMatrix | torch.Tensor, factored: LowRankMatrix) -> tuple[float, float]:
    """Norm of the exact change, and the share of it that the factors lose."""
    if exact is factored:
        return factored.norm(), 0.0
    if isinstance(exact, LowRankMatrix):
        norm = exact.norm()
        return norm, distance(exact, factored) / norm
    norm = float(torch.linalg.norm(exact))
    return norm, float(torch.linalg.norm(exact - factored.dense())) / norm


def check_residuals(
    modules: Sequence[ModuleError], max_residual: float, dense_change: Callable[[str], torch.Tensor]
) -> None:
    """Check that no module loses too much to its rank.

    Args:
        modules: the modules.
        max_residual: maximum residual of a module.
        dense_change: computes the exact change of a module.

    Raises:
        FinError: some lose too much; the message names the worst ones and the rank that they need.
    """
    # Rounded as in the message, then by name, so that the order of nearly equal ones is the same on every machine.
    worst = sorted(
        (module for module in modules if module.residual > max_residual),
        key=lambda module: (-round(module.residual, 2), module.module),
    )
    if not worst:
        return
    named = ", ".join(f"{module.module} {module.residual:.0%} at rank {module.rank}" for module in worst[:3])
    needed = max(required_rank(dense_change(module.module), max_residual) for module in worst[:3])
    remedy = f"pass --rank {needed}," if needed <= MAX_RANK else f"vLLM serves at most {MAX_RANK}, so pass"
    raise FinError(
        f"{len(worst)} of {len(modules)} layers lose more than {max_residual:.0%} of the merged change to the rank: "
        f"{named}; these need rank {needed}: {remedy} a larger --max-residual, or merge into a checkpoint (without "
        "--as-adapter; --dtype float32 keeps what rounding would lose of a small change)"
    )


@dataclass
class _SquaredNorms:
    """Sums of squares over tensors."""

    error: float = 0.0
    change: float = 0.0
    base: float = 0.0


@dataclass
class DeltaRoundingError:
    """What rounding a checkpoint loses of the merged change, collected tensor by tensor."""

    _groups: dict[str, _SquaredNorms] = field(default_factory=lambda: defaultdict(_SquaredNorms))

    def add(self, name: str, merged: torch.Tensor, base: torch.Tensor, written: torch.Tensor) -> None:
        """Count one tensor.

        Args:
            name: name of the tensor.
            merged: the merged tensor before rounding.
            base: the base's tensor.
            written: the merged tensor after rounding.
        """
        if not merged.is_floating_point():
            return
        base = base.to(merged.dtype)
        sums = self._groups[tensor_group(name)]
        sums.error += _squared_norm(written.to(merged.dtype) - merged)
        sums.change += _squared_norm(merged - base)
        sums.base += _squared_norm(base)

    def overall(self) -> float | None:
        """‖written − exact‖ / ‖exact − base‖ over all tensors; None if the merge changes nothing."""
        return _ratio(self._total("error"), self._total("change"))

    def by_group(self) -> dict[str, float | None]:
        """The same for each layer, and for modules outside the layers."""
        groups = sorted(self._groups.items(), key=lambda group: _group_order(group[0]))
        return {name: _ratio(sums.error, sums.change) for name, sums in groups}

    def size_of_change(self) -> float | None:
        """‖exact − base‖ / ‖base‖ over all tensors."""
        return _ratio(self._total("change"), self._total("base"))

    def _total(self, name: str) -> float:
        return math.fsum(getattr(sums, name) for sums in self._groups.values())


def check_rounding(error: DeltaRoundingError, dtype: str, max_rounding: float, adapter_is_exact: bool) -> None:
    """Check that rounding keeps enough of the merged change.

    Args:
        error: error over all tensors.
        dtype: type of the result.
        max_rounding: maximum share that may be lost; 1 for no limit.
        adapter_is_exact: whether one adapter can represent the merge exactly.

    Raises:
        FinError: too much is lost; the message names options that keep the change.
    """
    lost = error.overall()
    if lost is None or lost <= max_rounding or max_rounding >= 1:
        return
    worst_share, worst_group = max((share, name) for name, share in error.by_group().items() if share is not None)
    raise FinError(
        f"rounding to {dtype} loses {lost:.0%} of the merged change (most in {worst_group}: {worst_share:.0%}), which "
        f"is small compared with the weights ({error.size_of_change():.2%} of their norm); {max_rounding:.0%} is "
        f"allowed: pass {lossless_options(dtype, adapter_is_exact)}, which keeps it, or a larger --max-rounding"
    )


def lossless_options(dtype: str, adapter_is_exact: bool) -> str:
    """The options that keep a small change, for messages."""
    options = ["--dtype float32"] if dtype != "float32" else []
    return " or ".join([*options, *(["--as-adapter"] if adapter_is_exact else [])])


def tensor_group(name: str) -> str:
    """`layer 3`, or the name of the module for a tensor outside the layers."""
    number = layer_number(name)
    return name.removesuffix(".weight").rpartition(".")[2] if number is None else f"layer {number}"


def layer_number(name: str) -> int | None:
    """The layer that a tensor belongs to, or None."""
    match = _LAYER_NUMBER.search(name)
    return int(match[1]) if match else None


def _group_order(name: str) -> tuple[bool, int, str]:
    _, _, number = name.partition("layer ")
    return not number, int(number or 0), name


def _squared_norm(tensor: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor.flatten(), dtype=torch.float64)) ** 2


def _ratio(part: float, total: float) -> float | None:
    return math.sqrt(part / total) if total > 0 else None
