"""Merges adapters into one adapter: exactly for linear methods, by factoring the merged change for the others."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from fin_plugins.common.errors import FinError
from fin_plugins.compat import mergekit
from fin_plugins.evaluation.base_model import base_layers
from fin_plugins.merging.adapter_files import (
    USE_CHECKPOINT,
    AdapterFactors,
    read_adapter_factors,
    target_modules,
    write_adapter,
)
from fin_plugins.merging.checkpoints import read_checkpoint
from fin_plugins.merging.low_rank import LowRankMatrix, factorize, truncate, weighted_sum
from fin_plugins.merging.merge_error import (
    MAX_RANK,
    MAX_RESIDUAL,
    ModuleError,
    check_residuals,
    layer_number,
    overall_share,
    round_factors,
)
from fin_plugins.merging.merge_plan import BASE, TensorStep, expert_coefficients, is_linear, plan_adapter_merge
from fin_plugins.merging.recipes.recipe_model import ResolvedRecipe
from fin_plugins.merging.tensor_loaders import UntiedLoader, delta_scale
from fin_plugins.scoring.adapters import Adapter, vllm_lora_arguments

# Methods that depend on the experts' changes alone if the base is their base: adding a matrix to all inputs adds it to
# the result. They get the changes themselves, and the base's weights are not read.
_DELTA_METHODS = frozenset(
    {
        *("task_arithmetic", "ties", "dare_ties", "dare_linear", "breadcrumbs", "breadcrumbs_ties"),
        *("della", "della_linear", "sce", "ram", "ramplus_tl", "model_stock", "nuslerp", "multislerp"),
    }
)


@dataclass(frozen=True)
class AdapterMerge:
    """A merged adapter as written.

    Attributes:
        folder: folder of the adapter.
        linear: whether the method is a weighted sum of the adapters.
        dtype: type of the factors.
        modules: the changed modules with their errors.
    """

    folder: Path
    linear: bool
    dtype: str
    modules: tuple[ModuleError, ...]

    @property
    def rank(self) -> int:
        """The largest rank of a module."""
        return max(module.rank for module in self.modules)

    @property
    def engine_rank(self) -> int:
        """The `max_lora_rank` that vLLM needs; `fin eval` sets it automatically."""
        return int(vllm_lora_arguments([Adapter(self.folder.name, self.folder, self.rank, "", ())])["max_lora_rank"])

    @property
    def residual(self) -> float:
        """Share of the entire change lost to the ranks."""
        return overall_share((module.norm, module.residual) for module in self.modules)

    @property
    def rounding(self) -> float:
        """Share of the entire change lost by rounding."""
        return overall_share((module.norm, module.rounding) for module in self.modules)


def merge_as_adapter(
    recipe: ResolvedRecipe,
    folder: Path,
    *,
    rank: int | None = None,
    max_residual: float = MAX_RESIDUAL,
    dtype: str = "float32",
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> AdapterMerge:
    """Merge adapters into one adapter, module by module; only the result is kept in memory.

    Linear methods concatenate the adapters' factors, which is exact unless a lower rank is given. For the others the
    merged change is computed in float32 and factored.

    Args:
        recipe: the recipe.
        folder: folder of the result; `adapter_config.json` is written last.
        rank: maximum rank of the result; by default the sum of the experts' ranks.
        max_residual: maximum share of a module's change that the rank may lose.
        dtype: type of the result: `float32`, `bfloat16` or `float16`.
        device: device to compute on: `cpu` or `cuda`.
        progress: called with the number of modules done and the total.

    Raises:
        FinError: no adapter can represent this merge.
    """
    if rank is not None and not 1 <= rank <= MAX_RANK:
        raise FinError(f"--rank {rank}: give 1 to {MAX_RANK}, the largest rank that vLLM serves")
    merger = AdapterMerger(recipe, rank, device)
    steps, probed = _order_steps(recipe.method, merger.steps())
    changes: dict[str, LowRankMatrix] = {}
    modules: list[ModuleError] = []
    for done, step in enumerate(steps):
        progress(done, len(steps))
        if done == probed:
            check_residuals(modules, max_residual, lambda module: merger.dense_change(steps, module))
        exact = merger.exact_change(step)
        if exact is not None:
            error, rounded = round_factors(step.module, exact, merger.factor(step, exact), dtype)
            changes[step.module] = rounded.to(torch.device("cpu"))
            modules.append(error)
    progress(len(steps), len(steps))
    check_residuals(modules, max_residual, lambda module: merger.dense_change(steps, module))
    if not modules:
        raise FinError("the merge changes nothing: all weights are zero, or the experts cancel out: check --weight")
    targets = target_modules(changes, [name.removesuffix(".weight") for name in merger.base_shapes])
    write_adapter(folder, changes, _recorded_base(recipe), targets, merger.layers)
    linear = is_linear(recipe.method)
    return AdapterMerge(folder, linear, dtype, tuple(sorted(modules, key=lambda module: module.module)))


def _order_steps(method: str, steps: list[TensorStep]) -> tuple[list[TensorStep], int]:
    """The steps, and the number of steps after which residuals are checked before going on.

    A method that does not keep the rank low fails in every layer, so the middle layer comes first and a refusal takes
    seconds.
    """
    numbers = sorted({number for step in steps if (number := layer_number(step.tensor)) is not None})
    if is_linear(method) or not numbers:
        return steps, 0
    middle = numbers[len(numbers) // 2]
    first = [step for step in steps if layer_number(step.tensor) == middle]
    return [*first, *(step for step in steps if step not in first)], len(first)


def _recorded_base(recipe: ResolvedRecipe) -> str:
    """The base for `adapter_config.json`: its name on a hub, or the absolute path of its folder."""
    is_hub_name = "/" in recipe.base_name and not Path(recipe.base_name).expanduser().exists()
    return recipe.base_name if is_hub_name else str(recipe.base)


class AdapterMerger:
    """Computes the merged changes of a recipe's adapters.

    Attributes:
        layers: the layers of the base.
        experts: the adapters by name.
        base_shapes: shapes of the base's weights by name.
    """

    def __init__(self, recipe: ResolvedRecipe, rank: int | None = None, device: str = "cpu") -> None:
        """Open the adapters and check that they fit the base.

        Args:
            recipe: the recipe.
            rank: maximum rank of the result, or None.
            device: device to compute on.

        Raises:
            FinError: an expert is not an adapter whose change of each weight is the product of two factors.
        """
        for expert in recipe.experts:
            if not expert.is_adapter:
                raise FinError(
                    f"expert {expert.name} ({expert.path}) is a checkpoint, not an adapter: {USE_CHECKPOINT}"
                )
        self._recipe, self._rank, self._device = recipe, rank, torch.device(device)
        self.layers = base_layers(recipe.base)
        self.experts: dict[str, AdapterFactors] = {
            expert.name: read_adapter_factors(expert.name, expert.path, self.layers) for expert in recipe.experts
        }
        self.base_shapes = read_checkpoint("base", recipe.base).weight_shapes()
        self._base = UntiedLoader(recipe.base, self.layers)
        for factors in self.experts.values():
            factors.check_base(recipe.base, self.base_shapes, self._base.get_tensor)

    def steps(self) -> list[TensorStep]:
        """The steps for the weights that an expert changes.

        Raises:
            FinError: no adapter can represent the merge.
        """
        untied = any(self.layers.head in factors.scales for factors in self.experts.values())
        planned = {step.module: step for step in plan_adapter_merge(self._recipe, self.layers, untied=untied)}
        linear = is_linear(self._recipe.method)
        if linear:
            for step in planned.values():
                expert_coefficients(step)
        modules = sorted({module for factors in self.experts.values() for module in factors.scales})
        if missing := [module for module in modules if module not in planned]:
            raise FinError(
                f"an expert changes {missing[0]}, and mergekit merges no such tensor (the recipe leaves it out, or "
                "mergekit does not know it in this architecture): change the recipe, or leave the expert out"
            )
        steps = [planned[module] for module in modules]
        if linear and self._rank is None:
            self._check_rank(steps)
        return steps

    def _check_rank(self, steps: list[TensorStep]) -> None:
        """Check that an engine can serve the experts' concatenated factors."""
        for step in steps:
            used = [name for name, coefficient in expert_coefficients(step).items() if coefficient]
            ranks = sum(self.experts[name].rank(step.module) for name in used)
            rank = min(ranks, *self.base_shapes[step.tensor])
            if rank > MAX_RANK:
                raise FinError(
                    f"{step.module} has rank {rank} after the merge, and vLLM serves at most {MAX_RANK}: pass "
                    f"--rank {MAX_RANK} (what it loses is checked), or {USE_CHECKPOINT}"
                )

    def exact_change(self, step: TensorStep) -> LowRankMatrix | torch.Tensor | None:
        """The merged change of a module: factors for a linear method, else a dense matrix; None if it is zero."""
        if is_linear(step.method):
            terms = (
                (coefficient, self.experts[name].change(step.module))
                for name, coefficient in expert_coefficients(step).items()
            )
            return weighted_sum([(coefficient, change) for coefficient, change in terms if change])
        change = self.method_change(step, self._recipe.tensor_seed(step.tensor))
        return change if bool(change.any()) else None

    def dense_change(self, steps: list[TensorStep], module: str) -> torch.Tensor:
        """The merged change of a module once more; keeping all of them would take too much memory."""
        exact = self.exact_change(next(step for step in steps if step.module == module))
        assert exact is not None
        return exact if isinstance(exact, torch.Tensor) else exact.dense()

    def factor(self, step: TensorStep, exact: LowRankMatrix | torch.Tensor) -> LowRankMatrix:
        """The change as factors of the given rank; without a rank, exact for linear methods."""
        if isinstance(exact, torch.Tensor):
            ranks = sum(factors.rank(step.module) for factors in self.experts.values())
            return factorize(exact, self._rank or min(ranks, MAX_RANK), self._recipe.seed)
        max_rank = self._rank or MAX_RANK
        if exact.rank > min(max_rank, len(exact.up), exact.down.shape[1]):
            return truncate(exact, self._rank)
        return exact

    def method_change(self, step: TensorStep, seed: int) -> torch.Tensor:
        """The change `[out, in]` that mergekit's method makes to one weight, in float32.

        Holds one weight of every input in memory. The method sees the weights as the base stores them, because some
        methods work row by row.

        Args:
            step: the tensor and the method.
            seed: seed for methods that draw at random; the caller's random state stays as it is.

        Raises:
            FinError: the method rejects the inputs, or its result is not finite.
        """
        scale = delta_scale(step.method)
        if step.method in _DELTA_METHODS and step.base == BASE:
            base = torch.zeros(self.base_shapes[step.tensor], device=self._device)
        else:
            stored = self._base.get_tensor(step.tensor)
            assert stored is not None
            base = stored.float().to(self._device)
        inputs = []
        for name in step.inputs:
            change = self.experts[name].dense_change(step.module, self._device) if name != BASE else None
            inputs.append((name, base if change is None else base + scale * change, name == step.base))
        cuda_devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda_devices), torch.no_grad():
            torch.manual_seed(seed)
            parameters = {**step.parameters, **step.input_parameters}
            try:
                merged = mergekit.merge(step.method, step.tensor, inputs, parameters)
            except (ValueError, TypeError, RuntimeError) as error:
                raise FinError(
                    f"{step.tensor}: {step.method} rejects its inputs ({error}): change the recipe"
                ) from error
        merged_change: torch.Tensor = (merged.float() - base) / scale
        if not bool(merged_change.isfinite().all()):
            raise FinError(f"{step.tensor}: {step.method} gives NaN or infinity: change the recipe's parameters")
        return merged_change.T if self.layers.transposed(step.module) else merged_change
