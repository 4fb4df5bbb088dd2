"""A filled-in recipe applied to adapters, with one adapter as the result."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.base_layers import BaseLayers, base_layers
from fin_plugins.merging.adapters.dense import Weights, check_shapes, merged_change, refactor
from fin_plugins.merging.adapters.factors import INSTEAD, Factors, Product, read_factors
from fin_plugins.merging.adapters.linear import compress, concatenate, is_linear, weights
from fin_plugins.merging.adapters.measure import (
    MAX_RANK,
    MAX_RESIDUAL,
    AdapterMerge,
    Layer,
    check_residuals,
    rounded,
)
from fin_plugins.merging.adapters.plan import Step, plan
from fin_plugins.merging.adapters.write import target_names, write_adapter
from fin_plugins.merging.model import Filled

_NUMBER = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True)
class _Merge:
    """What is merged, and how."""

    filled: Filled
    layers: BaseLayers
    experts: Mapping[str, Factors]
    base: Weights
    rank: int | None
    device: str

    def exact(self, step: Step) -> Product | torch.Tensor | None:
        """The merged change of one tensor: as factors by a linear method, else as a matrix; None for no change."""
        if is_linear(step.method):
            named = ((weight, self.experts[name].product(step.module)) for name, weight in weights(step).items())
            return concatenate([(weight, product) for weight, product in named if product])
        change = merged_change(step, self.experts, self.base, self.filled.seed_of(step.weight), self.device)
        return change if bool(change.any()) else None

    def factored(self, step: Step, exact: Product | torch.Tensor) -> Product:
        """The change as factors of the rank asked for; by a linear method and without one, exactly."""
        if isinstance(exact, torch.Tensor):
            ranks = sum(expert.rank(step.module) for expert in self.experts.values())
            return refactor(exact, self.rank or min(ranks, MAX_RANK), self.filled.seed)
        most = self.rank or MAX_RANK
        if exact.rank > min(most, len(exact.up), exact.down.shape[1]):
            return compress(exact, self.rank)
        return exact


def merge_as_adapter(
    filled: Filled,
    folder: Path,
    *,
    rank: int | None = None,
    max_residual: float = MAX_RESIDUAL,
    dtype: str = "float32",
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> AdapterMerge:
    """Merge adapters into one adapter, module by module; the result alone is held in memory.

    Linear methods give the adapters' factors side by side, exactly, unless a lower rank is asked for. For the others
    the merged change is computed in float32 and factored again.

    Args:
        filled: the recipe, filled in.
        folder: where the adapter goes, a folder nobody reads yet: `adapter_config.json` is written last.
        rank: of the result, at most; by default the sum of the experts' ranks.
        max_residual: what the rank may leave out of a layer's change, as a share of its norm.
        dtype: of the result, `float32`, `bfloat16` or `float16`.
        device: where layers are computed, `cpu` or `cuda`.
        progress: told how many modules are done, and of how many.

    Raises:
        FinError: no adapter holds this merge, with the reason.
    """
    modules = base_layers(filled.base)
    base = Weights(filled.base, modules)
    merge = _Merge(filled, modules, _experts(filled, modules, base), base, _checked_rank(rank), device)
    steps, first = _in_order(merge, _steps(merge))
    products: dict[str, Product] = {}
    layers: list[Layer] = []
    for done, step in enumerate(steps):
        progress(done, len(steps))
        if done == first:
            check_residuals(layers, max_residual, lambda module: _dense(merge, steps, module))
        exact = merge.exact(step)
        if exact is not None:
            layer, products[step.module] = _layer(merge, step, exact, dtype)
            layers.append(layer)
    progress(len(steps), len(steps))
    check_residuals(layers, max_residual, lambda module: _dense(merge, steps, module))
    if not layers:
        raise FinError("the merge changes nothing: all weights are zero, or the experts cancel out: look at --weight")
    targets = target_names(products, [name.removesuffix(".weight") for name in merge.base.shapes])
    write_adapter(folder, products, _recorded(filled), targets, modules)
    return AdapterMerge(folder, is_linear(filled.method), dtype, tuple(sorted(layers, key=lambda layer: layer.module)))


def _layer(merge: _Merge, step: Step, exact: Product | torch.Tensor, dtype: str) -> tuple[Layer, Product]:
    factored = merge.factored(step, exact)
    layer, product = rounded(step.module, exact, factored, dtype)
    return layer, product.to(torch.device("cpu"))


def _in_order(merge: _Merge, steps: list[Step]) -> tuple[list[Step], int]:
    """The steps, and of how many of them the residuals are looked at before any more work.

    A method that fills up the rank does so in all layers: its middle layer comes first, and says so in seconds.
    """
    numbers = sorted({number for step in steps if (number := _layer_number(step)) is not None})
    if is_linear(merge.filled.method) or not numbers:
        return steps, 0
    middle = numbers[len(numbers) // 2]
    first = [step for step in steps if _layer_number(step) == middle]
    return [*first, *(step for step in steps if step not in first)], len(first)


def _layer_number(step: Step) -> int | None:
    match = _NUMBER.search(step.weight)
    return int(match[1]) if match else None


def _dense(merge: _Merge, steps: list[Step], module: str) -> torch.Tensor:
    """The merged change of one module again: too large to keep for all of them."""
    exact = merge.exact(next(step for step in steps if step.module == module))
    assert exact is not None
    return exact if isinstance(exact, torch.Tensor) else exact.dense()


def _recorded(filled: Filled) -> str:
    """The base as whoever loads the adapter finds it: the name on a hub, or the whole path of a folder."""
    on_hub = "/" in filled.base_name and not Path(filled.base_name).expanduser().exists()
    return filled.base_name if on_hub else str(filled.base)


def _experts(filled: Filled, layers: BaseLayers, base: Weights) -> dict[str, Factors]:
    for expert in filled.experts:
        if not expert.is_adapter:
            raise FinError(f"expert {expert.name} ({expert.path}) is a checkpoint, no adapter: {INSTEAD}")
    experts = {expert.name: read_factors(expert.name, expert.path, layers) for expert in filled.experts}
    check_shapes(list(experts.values()), base)
    for factors in experts.values():
        factors.check_copies(base.stored)
    return experts


def _steps(merge: _Merge) -> list[Step]:
    """The steps for the tensors that an expert changes, after checks of all."""
    filled = merge.filled
    untied = any(merge.layers.head in expert.scales for expert in merge.experts.values())
    steps = {step.module: step for step in plan(filled, merge.layers, untied=untied)}
    if is_linear(filled.method):
        for step in steps.values():
            weights(step)
    modules = sorted({module for expert in merge.experts.values() for module in expert.scales})
    if missing := [module for module in modules if module not in steps]:
        raise FinError(
            f"an expert changes {missing[0]}, and mergekit merges no such tensor (it is left out by the recipe, or by "
            "what mergekit knows of the architecture): change the recipe, or leave the expert out"
        )
    found = [steps[module] for module in modules]
    if is_linear(filled.method) and merge.rank is None:
        _check_rank(merge, found)
    return found


def _checked_rank(rank: int | None) -> int | None:
    if rank is not None and not 1 <= rank <= MAX_RANK:
        raise FinError(f"--rank {rank}: give 1 to {MAX_RANK}, the largest rank vLLM serves")
    return rank


def _check_rank(merge: _Merge, steps: list[Step]) -> None:
    """Check that the experts' factors side by side are not more than an engine serves."""
    for step in steps:
        counted = [merge.experts[name].rank(step.module) for name, weight in weights(step).items() if weight]
        rank = min(sum(counted), *merge.base.shapes[step.weight])
        if rank > MAX_RANK:
            raise FinError(
                f"{step.module} has rank {rank} once merged, and vLLM serves {MAX_RANK} at most: "
                f"pass --rank {MAX_RANK} (what that leaves out is checked), or {INSTEAD}"
            )
