"""The merged tensors, one after another, in float32: planned and computed by mergekit."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fin_plugins.errors import FinError
from fin_plugins.merging.model import Filled

if TYPE_CHECKING:
    from fin_plugins.merging.checkpoint.loaders import Opened

# These methods multiply the result's change of the base where the experts' changes are multiplied, but mergekit 0.1.5
# takes small changes for none: sce weights experts alike where their mean squares sum to less than 1e-6, which is
# what adapters have; model_stock shortens cosines where the product of two norms is below 1e-6. So they are given
# changes that are larger by this power of two, and the result's is divided by it.
_STRETCH = {"sce": 4096.0, "model_stock": 4096.0}
# All other methods make of inputs that are alike that same tensor, so that nothing need be computed where no expert
# changed anything, as adapters do not change embeddings; mergekit's multislerp would even refuse to.
_SCALING = ("linear", "passthrough")


@dataclass(frozen=True)
class Merged:
    """One tensor of the result, before rounding.

    Attributes:
        name: in the checkpoint.
        value: the merged tensor; in float32 where it holds numbers with a fraction.
        base: the base's tensor of that name, in the type it is stored in.
    """

    name: str
    value: torch.Tensor
    base: torch.Tensor


@dataclass(frozen=True)
class Plan:
    """What is to be computed: how many tensors, and how to get them."""

    count: int
    tensors: Iterator[Merged]


@contextmanager
def planned(filled: Filled, scratch: Path, device: str = "cpu") -> Iterator[Plan]:
    """Plan a merge; the tensors can be taken until the block ends.

    Args:
        filled: the recipe, filled in.
        scratch: a folder for what cannot be computed on the fly.
        device: where tensors are computed, `cpu` or `cuda`.

    Raises:
        FinError: mergekit does not take the recipe for this model, or refuses a tensor.
    """
    from mergekit.options import MergeOptions

    from fin_plugins.merging.checkpoint.loaders import loaders

    options = MergeOptions(device=device, quiet=True, trust_remote_code=False)
    stretch = _STRETCH.get(filled.method, 1.0)
    with _no_warnings(), torch.no_grad(), loaders(filled, scratch, options, stretch) as opened:
        tasks = _of_the_base(filled, _tasks(filled, options), opened.base.index.tensor_paths)
        yield Plan(len(tasks), (_merged(filled, task, opened, device, stretch) for task in tasks))


def _tasks(filled: Filled, options: Any) -> list[Any]:
    from mergekit.architecture import get_architecture_info
    from mergekit.config import MergeConfiguration
    from mergekit.plan import MergePlanner
    from transformers import AutoConfig

    # Rounding to the result's type is ours: what is lost by it is measured.
    asked = {key: value for key, value in filled.config.items() if key != "out_dtype"}
    try:
        config = MergeConfiguration.model_validate(asked)
        # All inputs have the base's tensors, so its architecture is theirs; of an adapter mergekit would not know any.
        alone = MergeConfiguration.model_validate({"models": [{"model": str(filled.base)}], "merge_method": "linear"})
        shape = AutoConfig.from_pretrained(filled.base, trust_remote_code=False, local_files_only=True)
        planner = MergePlanner(config, get_architecture_info(alone, options), options, shape)
        # Of the plan for a file, what computes each tensor; the one for memory cannot be made (mergekit 0.1.5).
        tasks = [task for task in planner.plan_to_disk(out_path="") if hasattr(task, "tensor_task")]
    except (ValueError, RuntimeError, KeyError) as error:
        raise FinError(f"{filled.recipe}: mergekit does not take it for {filled.base} ({_first(error)})") from error
    return tasks


def _of_the_base(filled: Filled, tasks: list[Any], base: Any) -> list[Any]:
    """The tasks for the base's tensors, all of them; mergekit also plans some that older files had."""
    if missing := sorted(set(base) - {task.tensor_name for task in tasks}):
        raise FinError(
            f"{filled.base}: mergekit would leave out {len(missing)} of its tensors ({missing[0]} …): this version of "
            "mergekit does not know the architecture as it is saved now"
        )
    return [task for task in tasks if task.tensor_name in base]


def _merged(filled: Filled, task: Any, opened: "Opened", device: str, stretch: float) -> Merged:
    name = task.tensor_name
    origin = opened.base.get_tensor(name)
    whole = origin.float() if origin.is_floating_point() else origin
    if filled.method not in _SCALING and "models" in filled.config and opened.unchanged(name):
        return Merged(name, whole, origin)
    value = _computed(filled, task, device)
    if stretch != 1 and value.is_floating_point():
        value = whole + (value - whole) / stretch
    return Merged(name, value, origin)


def _computed(filled: Filled, task: Any, device: str) -> torch.Tensor:
    """One tensor by mergekit; its random methods draw from the seed and the tensor's name."""
    from mergekit.graph import Executor

    name = task.tensor_name
    torch.manual_seed(filled.seed_of(name))
    try:
        ((_, value),) = Executor([task.tensor_task], math_device=torch.device(device)).run(quiet=True)
    except (ValueError, RuntimeError, TypeError, KeyError) as error:
        raise FinError(f"{name}: mergekit's {filled.method} cannot merge it ({_first(error)})") from error
    if not bool(torch.isfinite(value).all()):
        raise FinError(f"{name}: the merge is not finite: look at the weights, or leave an expert out")
    tensor: torch.Tensor = value
    return tensor


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Mergekit warns, through the root logger, of architectures that it works out by itself."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        logging.disable(before)


def _first(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
