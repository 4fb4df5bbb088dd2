"""mergekit's internals, tested with 0.1.5: it documents only its command and `run_merge`.

Assumed:

- `merge_methods.registry.registered_methods()` lists the methods; each has a `spec` with `name` and `parameters`
  (`name`, `default`, `scope`, `value_type`, `validate`), and `merge_methods.get(name)(groups, parameters=)` merges
  `TensorGroup`s of `TensorEntry(name, tensor, is base)`. (0.1.4 has neither.)
- `MergePlanner.plan_to_disk` returns one task per tensor with `tensor_name` and `tensor_task`, besides tasks that
  write files; the planner reads no weights. (Its in-memory plan fails in 0.1.5.)
- A `tensor_task` has `output_weight`, `method_name`, `model_order`, `base_model`, `parameters`, `input_parameters` and
  `gather_tensors.weight_info`; `Executor([task]).run()` computes it.
- `LoaderCache` is a singleton; models in its `loaders` are not opened from disk.
- `LazyTensorLoader(index).get_tensor(...)` reads one tensor; `ShardedTensorIndex.from_disk(folder).tensor_paths` names
  all.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mergekit import merge_methods
from mergekit.architecture import get_architecture_info
from mergekit.common import ModelReference
from mergekit.config import MergeConfiguration
from mergekit.graph import Executor
from mergekit.io.lazy_tensor_loader import LazyTensorLoader, ShardedTensorIndex
from mergekit.io.tasks import LoaderCache
from mergekit.merge_methods.base import TensorEntry, TensorGroup, TensorMetadata
from mergekit.merge_methods.registry import registered_methods
from mergekit.options import MergeOptions
from mergekit.plan import MergePlanner

__all__ = ["LazyTensorLoader", "ShardedTensorIndex"]


@dataclass(frozen=True)
class PlannedTensor:
    """mergekit's plan for one tensor.

    Attributes:
        name: name of the tensor in the result.
        method: mergekit's name of the method.
        inputs: input models in order.
        sources: name of the tensor in each input.
        base: the input used as base; None for methods without a base.
        parameters: parameters of the method, including defaults.
        input_parameters: parameters of each input.
    """

    name: str
    method: str
    inputs: tuple[ModelReference, ...]
    sources: Mapping[ModelReference, str]
    base: ModelReference | None
    parameters: Mapping[str, Any]
    input_parameters: Mapping[ModelReference, Mapping[str, Any]]


def methods() -> dict[str, Any]:
    """Methods of mergekit by name; `spec.parameters` lists their parameters."""
    return {method.spec.name: method for method in registered_methods()}


def merge(
    method: str, name: str, inputs: Sequence[tuple[str, torch.Tensor, bool]], parameters: Mapping[str, Any]
) -> torch.Tensor:
    """Merge one tensor.

    Args:
        method: mergekit's name of the method.
        name: name of the tensor.
        inputs: name and tensor of each input, and whether it is the base.
        parameters: parameters of the method, and of its inputs by parameter and input.

    Raises:
        ValueError, TypeError, RuntimeError: the method rejects the inputs.
    """
    group = TensorGroup(tuple(TensorEntry(*entry) for entry in inputs), TensorMetadata(name))
    (merged,) = merge_methods.get(method)((group,), parameters=dict(parameters))
    tensor: torch.Tensor = merged
    return tensor


@contextmanager
def loaders_in_place(loaders: Mapping[ModelReference, LazyTensorLoader], options: MergeOptions) -> Iterator[None]:
    """Make mergekit read these models through these loaders within the block."""
    cache = LoaderCache()
    cache.setup(options)
    before = dict(cache.loaders)
    cache.loaders.update(loaders)
    try:
        yield
    finally:
        cache.loaders.clear()
        cache.loaders.update(before)


def plan(config: Mapping[str, Any], base: Path, shape: Any, options: MergeOptions) -> list[Any]:
    """Tasks of mergekit for a recipe, one per tensor of the result (`tensor_name`); no weights are read.

    Args:
        config: the recipe.
        base: folder of a checkpoint with the architecture of all inputs.
        shape: transformers' configuration of the result.
        options: options of mergekit.

    Raises:
        ValueError, RuntimeError, OSError, KeyError: mergekit rejects the recipe for this model.
    """
    parsed = MergeConfiguration.model_validate(config)
    base_only = MergeConfiguration.model_validate({"models": [{"model": str(base)}], "merge_method": "linear"})
    planner = MergePlanner(parsed, get_architecture_info(base_only, options), options, shape)
    return [task for task in planner.plan_to_disk(out_path="") if hasattr(task, "tensor_task")]


def planned(task: Any) -> PlannedTensor:
    """The plan for the tensor of one of mergekit's tasks."""
    step = task.tensor_task
    return PlannedTensor(
        step.output_weight.name,
        step.method_name,
        tuple(step.model_order),
        {model: weight.name for model, weight in step.gather_tensors.weight_info.items()},
        step.base_model,
        dict(step.parameters.items()),
        {model: dict(given.items()) for model, given in step.input_parameters.items()},
    )


def compute(task: Any, device: str) -> torch.Tensor:
    """Compute the tensor of one of mergekit's tasks.

    Raises:
        ValueError, RuntimeError, TypeError, KeyError: the method rejects the inputs.
    """
    ((_, value),) = Executor([task.tensor_task], math_device=torch.device(device)).run(quiet=True)
    tensor: torch.Tensor = value
    return tensor
