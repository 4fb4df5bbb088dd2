"""Methods that are no weighted sum: mergekit's own code on one layer in float32, and the result factored again."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.base_layers import BaseLayers
from fin_plugins.evaluation.base_match import header_shapes
from fin_plugins.merging.adapters.factors import Factors, Product
from fin_plugins.merging.adapters.plan import BASE, Step
from fin_plugins.merging.planning import stretch

# Methods that look at the experts' changes alone, once a base is named: adding the same matrix to all inputs adds it to
# the result. They are given the changes themselves, and the base is not read.
_OF_THE_CHANGES = frozenset(
    {
        *("task_arithmetic", "ties", "dare_ties", "dare_linear", "breadcrumbs", "breadcrumbs_ties"),
        *("della", "della_linear", "sce", "ram", "ramplus_tl", "model_stock", "nuslerp", "multislerp"),
    }
)
# Up to this many rows or columns (or for a rank near them) the exact factors cost less than a second.
_SMALL = 1024


class Weights:
    """The weights of a checkpoint, read one at a time from safetensors."""

    def __init__(self, folder: Path, layers: BaseLayers) -> None:
        """Look up where each tensor is.

        Args:
            folder: the checkpoint.
            layers: its layers; one tied to the embeddings has their weight, under its own name.

        Raises:
            FinError: a file cannot be read.
        """
        self.folder = folder
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._files: dict[str, Path] = {}
        for file in sorted(folder.glob("*.safetensors")):
            shapes = header_shapes(file)
            self.shapes.update(shapes)
            self._files.update(dict.fromkeys(shapes, file))
        self._tied = {f"{layers.head}.weight": layers.tensor(layers.head)} if layers.tied else {}
        self.shapes.update({name: self.shapes[of] for name, of in self._tied.items() if of in self.shapes})

    def read(self, name: str) -> torch.Tensor:
        """One tensor, in float32."""
        return self.stored(name).float()

    def stored(self, name: str) -> torch.Tensor:
        """One tensor, in the type it is stored in."""
        from safetensors import safe_open

        stored = self._tied.get(name, name)
        with safe_open(self._files[stored], framework="pt", device="cpu") as handle:
            tensor: torch.Tensor = handle.get_tensor(stored)
        return tensor


def merged_change(
    step: Step, experts: Mapping[str, Factors], base: Weights, seed: int, device: str = "cpu"
) -> torch.Tensor:
    """What the method makes of the base's weight, less that weight, in float32 (holds one layer of every input).

    Methods that go row by row see weights as the base stores them; the change is given as the factors have it.

    Args:
        step: the tensor and the method.
        experts: the adapters by name.
        base: the base's weights, read only where the method looks at them.
        seed: for methods that draw at random; the caller's random state stays as it is.
        device: where to compute.

    Raises:
        FinError: the method refuses these inputs.
    """
    from fin_plugins.compat import mergekit

    origin = _origin(step, experts, base).to(device)
    inputs = [(name, _input(step, name, experts, origin), name == step.base) for name in step.inputs]
    random = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=random), torch.no_grad():
        torch.manual_seed(seed)
        try:
            merged = mergekit.merge(step.method, step.weight, inputs, {**step.shared, **step.own})
        except (ValueError, TypeError, RuntimeError) as error:
            raise FinError(f"{step.weight}: {step.method} refuses its inputs ({error}): mend the recipe") from error
    change: torch.Tensor = (merged.float() - origin) / stretch(step.method)
    if not bool(change.isfinite().all()):
        raise FinError(f"{step.weight}: {step.method} gives NaN or infinity: change the recipe's parameters")
    layers = next(iter(experts.values())).layers
    return change.T if layers.transposed(step.module) else change


def _origin(step: Step, experts: Mapping[str, Factors], base: Weights) -> torch.Tensor:
    return torch.zeros(base.shapes[step.weight]) if _of_the_changes(step) else base.read(step.weight)


def _input(step: Step, name: str, experts: Mapping[str, Factors], origin: torch.Tensor) -> torch.Tensor:
    change = experts[name].change(step.module, origin.device) if name != BASE else None
    return origin if change is None else origin + stretch(step.method) * change


def _of_the_changes(step: Step) -> bool:
    return step.method in _OF_THE_CHANGES and step.base == BASE


def refactor(change: torch.Tensor, rank: int, seed: int = 0) -> Product:
    """The best product of a rank for a matrix: exact for small ones, by random projections for large ones.

    Random projections are within a per cent or so of the best, and in minutes where the exact ones take hours.
    """
    rank = min(rank, *change.shape)
    wide = change if change.shape[0] <= change.shape[1] else change.T
    if len(wide) <= max(_SMALL, 3 * rank):
        _, vectors = torch.linalg.eigh(wide.double() @ wide.double().T)
        left = vectors[:, -rank:].float()
    else:
        with torch.random.fork_rng(devices=[change.device] if change.is_cuda else []):
            torch.manual_seed(seed)
            left = torch.svd_lowrank(wide, q=min(rank + 16, len(wide)), niter=4)[0][:, :rank]
    right = left.T @ wide
    return Product(left, right) if wide is change else Product(right.T.contiguous(), left.T.contiguous())


def check_shapes(experts: Sequence[Factors], base: Weights) -> None:
    """Check that the base has each weight that an adapter changes, in the adapter's shape and as PEFT turns it.

    Raises:
        FinError: it has not.
    """
    for expert in experts:
        for module in expert.scales:
            out, _, into = expert.shape(module)
            wanted = (into, out) if expert.layers.transposed(module) else (out, into)
            found = base.shapes.get(f"{module}.weight")
            if found != wanted:
                has = f"a weight of {found}" if found else "no such tensor"
                raise FinError(
                    f"expert {expert.name} changes {module}, a weight of {wanted}, and {base.folder} has {has} in its "
                    "files: give the base that it was trained on, as transformers' save_pretrained writes it"
                )
