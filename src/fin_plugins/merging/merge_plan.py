"""What mergekit plans for each tensor: one plan for merges into a checkpoint and into an adapter."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fin_plugins.common.errors import FinError, first_line
from fin_plugins.evaluation.base_model import BaseLayers
from fin_plugins.merging.recipes.recipe_model import ResolvedRecipe

if TYPE_CHECKING:
    from mergekit.options import MergeOptions

    from fin_plugins.compat.mergekit import PlannedTensor

BASE = "base"
"""Name of the base among the inputs of a `TensorStep`."""


def plan_tensors(recipe: ResolvedRecipe, options: "MergeOptions") -> list[Any]:
    """Mergekit's tasks for a recipe, one for each tensor of the result; reads no weights.

    Args:
        recipe: the recipe; loaders of its models are in place (`compat.mergekit.loaders_in_place`).
        options: mergekit's options.

    Raises:
        FinError: mergekit rejects the recipe for this model.
    """
    from transformers import AutoConfig

    from fin_plugins.compat import mergekit

    # We round to out_dtype ourselves, so that the loss can be measured.
    config = {key: value for key, value in recipe.config.items() if key != "out_dtype"}
    try:
        base_config = AutoConfig.from_pretrained(recipe.base, trust_remote_code=False, local_files_only=True)
        with silence_warnings():
            # The base's architecture is that of all inputs; mergekit could not find that of an adapter.
            return mergekit.plan(config, recipe.base, base_config, options)
    except (ValueError, RuntimeError, OSError, KeyError) as error:
        raise FinError(
            f"{recipe.name}: mergekit rejects the recipe for {recipe.base} ({first_line(error)}): correct the recipe"
        ) from error


@contextmanager
def silence_warnings() -> Iterator[None]:
    """Silence mergekit, which warns through the root logger about architectures that it infers."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(previous)


@dataclass(frozen=True)
class TensorStep:
    """How one tensor is merged.

    Attributes:
        tensor: name of the tensor, the same in all inputs and in the result.
        method: mergekit's name of the merge method.
        inputs: names of the inputs in their order: experts, and `BASE` for the base.
        base: the input that the method takes as its base; None if it takes none.
        parameters: parameters of the method, including defaults.
        input_parameters: parameters of the inputs, by parameter and input.
    """

    tensor: str
    method: str
    inputs: tuple[str, ...]
    base: str | None
    parameters: Mapping[str, Any]
    input_parameters: Mapping[str, Mapping[str, Any]]

    @property
    def module(self) -> str:
        """The module whose weight the tensor is."""
        return self.tensor.removesuffix(".weight")


def plan_adapter_merge(recipe: ResolvedRecipe, layers: BaseLayers, *, untied: bool = False) -> list[TensorStep]:
    """The steps of a merge of adapters; reads no weights.

    With `untied`, there is a step for an output layer that the base ties to the embeddings.

    Raises:
        FinError: mergekit rejects the recipe, or it moves layers, which no adapter can.
    """
    from mergekit.common import ModelReference
    from mergekit.options import MergeOptions

    from fin_plugins.compat import mergekit
    from fin_plugins.merging.tensor_loaders import open_checkpoint

    names = {ModelReference.parse(str(recipe.base)): BASE}
    names |= {ModelReference.parse(expert.mergekit_reference(recipe.base)): expert.name for expert in recipe.experts}
    options = MergeOptions(trust_remote_code=False, quiet=True)
    # A base with an adapter has the base's tensors and no others.
    loader = open_checkpoint(recipe.base, layers, untied=untied)
    with mergekit.loaders_in_place(dict.fromkeys(names, loader), options):
        return [_build_step(mergekit.planned(task), names) for task in plan_tensors(recipe, options)]


def _build_step(planned: "PlannedTensor", names: Mapping[Any, str]) -> TensorStep:
    inputs = {model: names[model] for model in planned.inputs}
    for model, source in planned.sources.items():
        if source != planned.name:
            raise FinError(
                f"the recipe makes {planned.name} out of {source} of {inputs[model]}, and an adapter cannot move "
                "layers: merge into a checkpoint (without --as-adapter)"
            )
    # In the order of the inputs: mergekit's own order of parameters differs from process to process.
    input_parameters: dict[str, dict[str, Any]] = {}
    for model, name in inputs.items():
        for parameter, value in planned.input_parameters.get(model, {}).items():
            input_parameters.setdefault(parameter, {})[name] = value
    base = None if planned.base is None else inputs.get(planned.base)
    return TensorStep(planned.name, planned.method, tuple(inputs.values()), base, planned.parameters, input_parameters)


def is_linear(method: str) -> bool:
    """Whether the method merges adapters into a weighted sum whose weights are known in advance."""
    return method in _COEFFICIENTS


def expert_coefficients(step: TensorStep) -> dict[str, float]:
    """The coefficient of each expert's change in the result of a linear method.

    Raises:
        FinError: the merge would scale the base's own weight.
    """
    return {name: coefficient for name, coefficient in _COEFFICIENTS[step.method](step).items() if name != BASE}


def _task_arithmetic(step: TensorStep) -> dict[str, float]:
    weights = step.input_parameters.get("weight", {})
    total = sum(weights.values()) if step.parameters["normalize"] else 1.0
    factor = step.parameters["lambda"] / (total if abs(total) >= 1e-8 else 1.0)  # mergekit's own threshold
    coefficients = {name: weight * factor for name, weight in weights.items()}
    if step.base in (None, BASE):
        return coefficients
    # An expert is the base of the method: it gets what the others leave of one.
    return {**coefficients, str(step.base): 1 - sum(coefficients.values())}


def _linear(step: TensorStep) -> dict[str, float]:
    weights = step.input_parameters.get("weight", {})
    total = sum(weights.values())
    if abs(total) < 1e-8 or (not step.parameters["normalize"] and abs(total - 1) > 1e-6):
        raise FinError(
            f"{step.tensor}: the weights sum to {total:g}, so the merge scales the base's own weights, which no "
            "adapter can: set normalize: true or weights that sum to 1, or use task_arithmetic"
        )
    return {name: weight / total for name, weight in weights.items()}


def _passthrough(step: TensorStep) -> dict[str, float]:
    scales = step.input_parameters.get("scale", {})
    if any(scale is not None and scale != 1 for scale in scales.values()):
        raise FinError(
            f"{step.tensor}: scale {next(iter(scales.values()))} scales the base's own weights, which no adapter can: "
            "leave scale out, or merge into a checkpoint (without --as-adapter)"
        )
    return dict.fromkeys(step.inputs, 1.0)


_COEFFICIENTS: dict[str, Callable[[TensorStep], dict[str, float]]] = {
    "task_arithmetic": _task_arithmetic,
    "linear": _linear,
    "passthrough": _passthrough,
}
