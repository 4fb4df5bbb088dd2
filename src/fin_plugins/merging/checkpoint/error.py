"""What rounding the result costs: how far the written change of the base is from the exact one, layer by layer."""

import math
import re
from collections import defaultdict
from dataclasses import dataclass, field

import torch

from fin_plugins.common.errors import FinError
from fin_plugins.merging.checkpoint.tensors import Merged

MAX_ROUNDING = 0.5
"""What rounding the result may lose of the merged change unless the user says otherwise, as a share of its norm."""
# To bfloat16 a change of 1 % of the weights' norm loses 32 % (what experts of usual learning rates make), one of 3 %
# 13 %, and one of 0.3 % loses 81 %: from a half on, the result is rounding more than it is the merge.
_LAYER = re.compile(r"\.(\d+)\.")


@dataclass
class _Sums:
    """Sums of squares over tensors."""

    lost: float = 0.0
    change: float = 0.0
    base: float = 0.0


@dataclass
class ErrorOfChange:
    """Takes tensors as they are written; Frobenius norms over all of a group's tensors."""

    _groups: dict[str, _Sums] = field(default_factory=lambda: defaultdict(_Sums))

    def add(self, merged: Merged, written: torch.Tensor) -> None:
        """Count one tensor: before rounding, and as it is written."""
        if not merged.value.is_floating_point():
            return
        base = merged.base.to(merged.value.dtype)
        change, sums = merged.value - base, self._groups[group_of(merged.name)]
        sums.lost += _squares(written.to(merged.value.dtype) - merged.value)
        sums.change += _squares(change)
        sums.base += _squares(base)

    def overall(self) -> float | None:
        """‖written − exact‖ / ‖exact − base‖ over the whole model; None where the merge changes nothing."""
        return _ratio(self._sum("lost"), self._sum("change"))

    def by_group(self) -> dict[str, float | None]:
        """The same for each layer, and for what is in none."""
        return {name: _ratio(sums.lost, sums.change) for name, sums in sorted(self._groups.items(), key=_order)}

    def size_of_change(self) -> float | None:
        """‖exact − base‖ / ‖base‖ over the whole model."""
        return _ratio(self._sum("change"), self._sum("base"))

    def _sum(self, name: str) -> float:
        return math.fsum(getattr(sums, name) for sums in self._groups.values())


def check_rounding(error: ErrorOfChange, dtype: str, most: float, held_by_adapter: bool) -> None:
    """Check that the result is the merge, and not what rounding makes of it.

    Args:
        error: over all tensors.
        dtype: of the result.
        most: what rounding may lose of the change; 1 for all of it.
        held_by_adapter: whether one adapter holds the merge exactly.

    Raises:
        FinError: it is not; says what keeps the change.
    """
    lost = error.overall()
    if lost is None or lost <= most or most >= 1:
        return
    worst = max((share, name) for name, share in error.by_group().items() if share is not None)
    raise FinError(
        f"rounding to {dtype} loses {lost:.0%} of the merged change (most in {worst[1]}: {worst[0]:.0%}), which is "
        f"small beside the weights ({error.size_of_change():.2%} of their norm); {most:.0%} is allowed: pass "
        f"{finer(dtype, held_by_adapter)}, which keeps it, or a larger --max-rounding"
    )


def finer(dtype: str, held_by_adapter: bool) -> str:
    """The options that keep a small change."""
    ways = ["--dtype float32"] if dtype != "float32" else []
    return " or ".join([*ways, *(["--as-adapter"] if held_by_adapter else [])])


def group_of(name: str) -> str:
    """`layer 3`, or for a tensor of no layer the name of its module."""
    match = _LAYER.search(name)
    return f"layer {match[1]}" if match else name.removesuffix(".weight").rpartition(".")[2]


def _order(group: tuple[str, _Sums]) -> tuple[bool, int, str]:
    _, _, number = group[0].partition("layer ")
    return not number, int(number or 0), group[0]


def _squares(tensor: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor.flatten(), dtype=torch.float64)) ** 2


def _ratio(part: float, whole: float) -> float | None:
    return math.sqrt(part / whole) if whole > 0 else None
