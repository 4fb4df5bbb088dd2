"""What mergekit would do with each tensor that an adapter may change."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.base_layers import BaseLayers
from fin_plugins.merging.model import Filled
from fin_plugins.merging.planning import tensor_tasks
from fin_plugins.merging.recipes.expand import reference

if TYPE_CHECKING:
    from fin_plugins.compat.mergekit import PlannedTensor

BASE = "base"


@dataclass(frozen=True)
class Step:
    """How one tensor of the merged checkpoint is made.

    Attributes:
        weight: the tensor's name, in every input and in the output.
        method: mergekit's name of the method.
        inputs: names of the experts in their order, `BASE` for the base.
        base: which of the inputs the method takes as its base; None where it takes none.
        shared: parameters of the method, defaults filled in.
        own: parameters of each input, by the parameter's name and then the input's.
    """

    weight: str
    method: str
    inputs: tuple[str, ...]
    base: str | None
    shared: Mapping[str, Any]
    own: Mapping[str, Mapping[str, Any]]

    @property
    def module(self) -> str:
        """The module whose weight it is."""
        return self.weight.removesuffix(".weight")


def plan(filled: Filled, layers: BaseLayers, *, untied: bool = False) -> list[Step]:
    """The steps of a merge of adapters; no weights are read.

    Args:
        filled: the recipe, filled in.
        layers: those of the base.
        untied: whether there is a step for an output layer that is tied to the embeddings.

    Raises:
        FinError: mergekit does not take the recipe, or it moves layers, which no adapter can.
    """
    from mergekit.common import ModelReference
    from mergekit.options import MergeOptions

    from fin_plugins.compat import mergekit
    from fin_plugins.merging.untied import open_loader

    called = {ModelReference.parse(str(filled.base)): BASE}
    called |= {ModelReference.parse(reference(expert, filled.base)): expert.name for expert in filled.experts}
    options = MergeOptions(trust_remote_code=False, quiet=True)
    # With an adapter added, a model has the tensors that the base has, and no others are planned.
    tensors = open_loader(filled.base, layers, untied=untied)
    with mergekit.loaders_in_place(dict.fromkeys(called, tensors), options):
        return [_step(mergekit.planned(task), called) for task in tensor_tasks(filled, options)]


def _step(planned: "PlannedTensor", called: Mapping[Any, str]) -> Step:
    name = planned.name
    inputs = {model: called[model] for model in planned.inputs}
    for model, source in planned.sources.items():
        if source != name:
            raise FinError(
                f"the recipe makes {name} out of {source} of {inputs[model]}: an adapter cannot move layers, "
                "merge into a checkpoint (without --as-adapter)"
            )
    # By the inputs in their order: mergekit's own order of parameters differs from process to process.
    own: dict[str, dict[str, Any]] = {}
    for model, expert in inputs.items():
        for parameter, value in planned.input_parameters.get(model, {}).items():
            own.setdefault(parameter, {})[expert] = value
    base = None if planned.base is None else inputs.get(planned.base)
    return Step(name, planned.method, tuple(inputs.values()), base, planned.parameters, own)
