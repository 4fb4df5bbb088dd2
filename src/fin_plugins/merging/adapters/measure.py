"""How near the written adapter is to the exact merge: what a lower rank left out, and what rounding cost."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from fin_plugins.common.errors import FinError
from fin_plugins.merging.adapters.factors import Product
from fin_plugins.merging.adapters.linear import compress, difference
from fin_plugins.scoring.adapters import Adapter, engine_limits

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MAX_RANK = 512
"""The largest rank vLLM serves."""
# What two real adapters of rank 16 (SmolLM2-135M) lose: slerp, nuslerp, multislerp and karcher under 1 % at rank 32;
# at density 0.5 ties 31 % there and 21 % at rank 128, dare_ties 44 % at 128, ram 4 % at 128.
MAX_RESIDUAL = 0.1
"""What a rank may leave out of a layer's change unless the user says otherwise, as a share of its norm."""
# What rounding may cost a layer; 0.2 % is usual for bfloat16.
_MAX_ROUNDING = 0.003


@dataclass(frozen=True)
class Layer:
    """One module of the merged adapter.

    Attributes:
        module: its name in the model.
        rank: of its two factors.
        norm: Frobenius norm of the exact merged change.
        residual: what the rank left out, as a share of that norm; 0 where the factors were put side by side.
        rounding: what rounding the factors to the written type cost, as a share of that norm.
    """

    module: str
    rank: int
    norm: float
    residual: float
    rounding: float


@dataclass(frozen=True)
class AdapterMerge:
    """A merge of adapters, as written.

    Attributes:
        folder: where it was written.
        linear: whether the method is a weighted sum of the adapters.
        dtype: the type it was written in.
        layers: each module of it.
    """

    folder: Path
    linear: bool
    dtype: str
    layers: tuple[Layer, ...]

    @property
    def rank(self) -> int:
        """The largest rank in it."""
        return max(layer.rank for layer in self.layers)

    @property
    def engine_rank(self) -> int:
        """The `max_lora_rank` that vLLM needs; `fin eval` sets it by itself."""
        return int(engine_limits([Adapter(self.folder.name, self.folder, self.rank, "", ())])["max_lora_rank"])

    @property
    def residual(self) -> float:
        """What ranks left out of the whole change, as a share of its norm."""
        return _overall((layer.norm, layer.residual) for layer in self.layers)

    @property
    def rounding(self) -> float:
        """What rounding cost of the whole change, as a share of its norm."""
        return _overall((layer.norm, layer.rounding) for layer in self.layers)


def _overall(parts: Iterable[tuple[float, float]]) -> float:
    listed = list(parts)
    return math.hypot(*(norm * share for norm, share in listed)) / math.hypot(*(norm for norm, _ in listed))


def rounded(module: str, exact: Product | torch.Tensor, factored: Product, dtype: str) -> tuple[Layer, Product]:
    """The factors in the type to be written, and what they are worth.

    Where experts nearly cancel out, rounding each is large beside what is left: then the sum itself is factored.

    Raises:
        FinError: the type cannot hold the merge.
    """
    product = factored.to(DTYPES[dtype])
    norm = factored.norm()
    if dtype != "float32" and difference(factored, product) > _MAX_ROUNDING * norm:
        product = compress(factored).to(DTYPES[dtype])
    error = difference(factored, product) / norm
    if not error <= _MAX_ROUNDING:  # nor NaN
        raise FinError(f"{module}: rounding to {dtype} costs {error:.2%} of the merged change: pass --dtype float32")
    whole, left_out = _left_out(exact, factored)
    return Layer(module, product.rank, whole, left_out, error), product


def _left_out(exact: Product | torch.Tensor, factored: Product) -> tuple[float, float]:
    if exact is factored:
        return factored.norm(), 0.0
    if isinstance(exact, Product):
        norm = exact.norm()
        return norm, difference(exact, factored) / norm
    norm = float(torch.linalg.norm(exact))
    return norm, float(torch.linalg.norm(exact - factored.dense())) / norm


def check_residuals(layers: Sequence[Layer], most: float, change: Callable[[str], torch.Tensor]) -> None:
    """Check that no layer lost more than it may to a low rank.

    Args:
        layers: those to check.
        most: what one may lose.
        change: the exact change of a module.

    Raises:
        FinError: some did; names the worst, and the rank that would do for them.
    """
    # By the residual as it is shown, then by name: near-equal ones stand in one order on every machine.
    worst = sorted(
        (layer for layer in layers if layer.residual > most),
        key=lambda layer: (-round(layer.residual, 2), layer.module),
    )
    if not worst:
        return
    named = ", ".join(f"{layer.module} {layer.residual:.0%} at rank {layer.rank}" for layer in worst[:3])
    needed = max(rank_for(change(layer.module), most) for layer in worst[:3])
    mend = f"pass --rank {needed}," if needed <= MAX_RANK else f"vLLM serves {MAX_RANK} at most, so pass"
    raise FinError(
        f"{len(worst)} of {len(layers)} layers lose more than {most:.0%} of the merged change to the rank: {named}; "
        f"these need rank {needed}: {mend} a larger --max-residual, or merge into a checkpoint (without --as-adapter; "
        "--dtype float32 keeps there what rounding would lose of a small change)"
    )


def rank_for(change: torch.Tensor, most: float) -> int:
    """The lowest rank whose best product leaves out at most `most` of a matrix."""
    wide = (change if change.shape[0] <= change.shape[1] else change.T).double()
    energy = torch.linalg.eigvalsh(wide @ wide.T).clamp(min=0)  # ascending
    left_out = energy.cumsum(0) / energy.sum()
    return max(1, len(wide) - int((left_out <= most**2).sum()))
