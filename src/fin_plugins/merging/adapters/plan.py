"""What mergekit would do with each tensor: its own planner is asked, so that a recipe means the same for adapters."""

import copy
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fin_plugins.errors import FinError

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


def plan(config: Mapping[str, Any], base: Path, names: Mapping[str, str]) -> list[Step]:
    """The steps of a merge; no weights are read.

    mergekit opens the inputs while it plans, and would merge an adapter into the base for it. Here each expert is a
    link to the base: the same architecture and tensors.

    Args:
        config: a filled-in recipe, as mergekit's YAML has it.
        base: folder of the base's checkpoint.
        names: each model's name in `config`, and what it is called here: an expert's name, or `BASE`.

    Raises:
        FinError: mergekit does not take the recipe, or it moves layers, which no adapter can.
    """
    with tempfile.TemporaryDirectory(prefix="fin-merge-") as scratch:
        links = {said: Path(scratch) / str(number) for number, said in enumerate(names)}
        for link in links.values():
            link.symlink_to(base.resolve(), target_is_directory=True)
        linked = _linked(copy.deepcopy(dict(config)), {said: str(link) for said, link in links.items()})
        called = {str(link): names[said] for said, link in links.items()}
        return [_step(task, called) for task in _tasks(linked, base)]


def _linked(value: Any, links: Mapping[str, str]) -> Any:
    """The recipe with each model replaced; one that is not in `links` would be looked for elsewhere, so it must be."""
    if isinstance(value, dict):
        return {
            key: links[_said(part)] if key in ("model", "base_model") and part is not None else _linked(part, links)
            for key, part in value.items()
        }
    return [_linked(part, links) for part in value] if isinstance(value, list) else value


def _said(model: Any) -> str:
    """`base+adapter`, also where the recipe has the two written out."""
    if isinstance(model, str):
        return model
    return "+".join(model[part]["path"] for part in ("model", "lora") if part in model)


def _tasks(config: Mapping[str, Any], base: Path) -> Iterator[Any]:
    from mergekit.architecture import get_architecture_info
    from mergekit.config import MergeConfiguration
    from mergekit.io.tasks import LoaderCache
    from mergekit.options import MergeOptions
    from mergekit.plan import MergePlanner
    from transformers import AutoConfig

    options = MergeOptions(trust_remote_code=False, quiet=True)
    loaders = LoaderCache()
    loaders.setup(options)
    before = set(loaders.loaders)
    try:
        merge = MergeConfiguration.model_validate(config)
        shape = AutoConfig.from_pretrained(base, trust_remote_code=False, local_files_only=True)
        planner = MergePlanner(merge, get_architecture_info(merge, options), options, shape)
        # A plan only, nothing is written (plan_in_memory, which would do, fails with pydantic 2.14).
        yield from (target.tensor_task for target in planner.plan_to_disk("") if hasattr(target, "tensor_task"))
    except (ValueError, RuntimeError, OSError, KeyError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise FinError(f"mergekit does not take the recipe for {base} ({reason[0]}): mend the recipe") from error
    finally:
        for model in set(loaders.loaders) - before:  # they name links that are about to go
            del loaders.loaders[model]


def _step(task: Any, called: Mapping[str, str]) -> Step:
    name = task.output_weight.name
    inputs = {model: called[str(model.model.path)] for model in task.model_order}
    for model, weight in task.gather_tensors.weight_info.items():
        if weight.name != name:
            raise FinError(
                f"the recipe makes {name} out of {weight.name} of {inputs[model]}: an adapter cannot move layers, "
                "merge into a checkpoint (without --as-adapter)"
            )
    own: dict[str, dict[str, Any]] = {}
    for model, values in task.input_parameters.items():
        for parameter, value in values.items():
            own.setdefault(parameter, {})[inputs[model]] = value
    base = inputs.get(task.base_model)
    return Step(name, task.method_name, tuple(inputs.values()), base, dict(task.parameters.items()), own)
