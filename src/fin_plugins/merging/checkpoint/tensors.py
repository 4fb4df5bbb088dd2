"""The merged tensors, one after another, in float32: planned and computed by mergekit."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fin_plugins.common.errors import FinError, first_line
from fin_plugins.merging.model import Filled
from fin_plugins.merging.planning import no_warnings, stretch, tensor_tasks

if TYPE_CHECKING:
    from fin_plugins.merging.checkpoint.loaders import Opened

# All methods but these make of inputs that are alike that same tensor, so that nothing need be computed where no expert
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
    """What is to be computed: how many tensors, how to get them, and whether they untie the output layer."""

    count: int
    tensors: Iterator[Merged]
    untied: bool


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
    with no_warnings(), torch.random.fork_rng(), torch.no_grad(), loaders(filled, scratch, options) as opened:
        tasks = _of_the_base(filled, tensor_tasks(filled, options), opened.base.index.tensor_paths)
        yield Plan(len(tasks), (_merged(filled, task, opened, device) for task in tasks), opened.untied)


def _of_the_base(filled: Filled, tasks: list[Any], base: Any) -> list[Any]:
    """The tasks for the base's tensors, all of them; mergekit also plans some that older files had."""
    if missing := sorted(set(base) - {task.tensor_name for task in tasks}):
        raise FinError(
            f"{filled.base}: mergekit would leave out {len(missing)} of its tensors ({missing[0]} …): this version of "
            "mergekit does not know the architecture as it is saved now"
        )
    return [task for task in tasks if task.tensor_name in base]


def _merged(filled: Filled, task: Any, opened: "Opened", device: str) -> Merged:
    name = task.tensor_name
    origin = opened.base.get_tensor(name)
    whole = origin.float() if origin.is_floating_point() else origin
    if filled.method not in _SCALING and "models" in filled.config and opened.unchanged(name):
        return Merged(name, whole, origin)
    value = _computed(filled, task, device)
    if (larger := stretch(filled.method)) != 1 and value.is_floating_point():
        value = whole + (value - whole) / larger
    return Merged(name, value, origin)


def _computed(filled: Filled, task: Any, device: str) -> torch.Tensor:
    """One tensor by mergekit; its random methods draw from the seed and the tensor's name."""
    from fin_plugins.compat import mergekit

    name = task.tensor_name
    torch.manual_seed(filled.seed_of(name))
    try:
        value = mergekit.compute(task, device)
    except (ValueError, RuntimeError, TypeError, KeyError) as error:
        raise FinError(f"{name}: mergekit's {filled.method} cannot merge it ({first_line(error)})") from error
    if not bool(torch.isfinite(value).all()):
        raise FinError(f"{name}: the merge is not finite: look at the weights, or leave an expert out")
    return value
