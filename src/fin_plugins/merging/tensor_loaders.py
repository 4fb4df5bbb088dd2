"""Loaders through which mergekit reads the inputs: adapters appear as checkpoints and are never written as such."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from mergekit.common import ModelReference
from mergekit.options import MergeOptions

from fin_plugins.common.errors import FinError
from fin_plugins.compat.mergekit import LazyTensorLoader, ShardedTensorIndex, loaders_in_place
from fin_plugins.evaluation.base_model import BaseLayers, base_layers
from fin_plugins.merging.adapter_files import AdapterFactors, read_adapter_factors
from fin_plugins.merging.checkpoints import read_checkpoint
from fin_plugins.merging.peft_merge import adapter_to_checkpoint, needs_peft
from fin_plugins.merging.recipes.recipe_model import Expert, ResolvedRecipe

# These methods scale linearly with the experts' changes, but mergekit 0.1.5 treats small changes as zero: sce weights
# experts equally if their mean squares sum to less than 1e-6, as those of adapters do, and model_stock shortens cosines
# if the product of two norms is below 1e-6. They get larger changes, by this power of two; the result is divided by it.
_DELTA_SCALES = {"sce": 4096.0, "model_stock": 4096.0}


def delta_scale(method: str) -> float:
    """The factor by which the experts' changes are multiplied for mergekit, and its result is divided."""
    return _DELTA_SCALES.get(method, 1.0)


class UntiedLoader(LazyTensorLoader):
    """A checkpoint's tensors; an output layer tied to the embeddings appears under its own name too."""

    def __init__(self, folder: Path, layers: BaseLayers) -> None:
        """Open the checkpoint in a folder, with its layers."""
        index = ShardedTensorIndex.from_disk(str(folder))
        self._head, self._source = f"{layers.head}.weight", layers.tensor(layers.head)
        self._tied = layers.tied and self._source in index.tensor_paths
        head_path = {self._head: index.tensor_paths[self._source]} if self._tied else {}
        super().__init__(replace(index, tensor_paths={**index.tensor_paths, **head_path}))

    def get_tensor(
        self, key: str, device: str = "cpu", aliases: list[str] | None = None, raise_on_missing: bool = True
    ) -> torch.Tensor | None:
        """Read a tensor; like transformers, ignores an output layer that a tied model's files may contain."""
        source = self._source if self._tied and key == self._head else key
        tensor: torch.Tensor | None = super().get_tensor(source, device, aliases, raise_on_missing)
        return tensor


def open_checkpoint(folder: Path, layers: BaseLayers, *, untied: bool) -> LazyTensorLoader:
    """Open a checkpoint's tensors as transformers uses them; `untied` gives the output layer its own weight."""
    index = ShardedTensorIndex.from_disk(str(folder))
    has_head = f"{layers.head}.weight" in index.tensor_paths
    return UntiedLoader(folder, layers) if untied or (layers.tied and has_head) else LazyTensorLoader(index)


class AdapterLoader(LazyTensorLoader):
    """The base's tensors with an adapter's changes added in float32 when they are read."""

    def __init__(self, base: LazyTensorLoader, factors: AdapterFactors) -> None:
        """Take the loader of the base and the adapter."""
        super().__init__(base.index)
        self._base, self._factors = base, factors

    def get_tensor(
        self, key: str, device: str = "cpu", aliases: list[str] | None = None, raise_on_missing: bool = True
    ) -> torch.Tensor | None:
        """Read a tensor; in float32 if the adapter changes it."""
        tensor: torch.Tensor | None = self._base.get_tensor(key, device, aliases, raise_on_missing)
        if tensor is None or not self.changes(key):
            return tensor
        return tensor.float() + self._factors.dense_change(key.removesuffix(".weight"), tensor.device)

    def changes(self, key: str) -> bool:
        """Whether the adapter changes the tensor; reads no weights."""
        return key.endswith(".weight") and key.removesuffix(".weight") in self._factors.scales


class ScaledDeltaLoader(LazyTensorLoader):
    """An expert's tensors in float32, with their difference from the base multiplied by a factor."""

    def __init__(self, expert: LazyTensorLoader, base: LazyTensorLoader, factor: float) -> None:
        """Take the loaders of the expert and the base, and the factor."""
        super().__init__(expert.index)
        self._expert, self._base, self._factor = expert, base, factor

    def get_tensor(
        self, key: str, device: str = "cpu", aliases: list[str] | None = None, raise_on_missing: bool = True
    ) -> torch.Tensor | None:
        """Read a tensor with its difference scaled."""
        tensor: torch.Tensor | None = self._expert.get_tensor(key, device, aliases, raise_on_missing)
        base = self._base.get_tensor(key, device, aliases, raise_on_missing)
        if tensor is None or base is None or not tensor.is_floating_point():
            return tensor
        return base.float() + self._factor * (tensor.float() - base.float())


@dataclass(frozen=True)
class InputLoaders:
    """The loaders of base and experts.

    Attributes:
        base: loader of the base.
        experts: loaders of the experts, in their order.
        untied: whether output layer and embeddings, one weight in the base, are two in the result.
    """

    base: LazyTensorLoader
    experts: tuple[LazyTensorLoader, ...]
    untied: bool

    def is_unchanged(self, key: str) -> bool:
        """Whether a tensor is the base's in every expert; reads no weights of adapters."""
        return not any(self._changes(expert, key) for expert in self.experts)

    def _changes(self, expert: LazyTensorLoader, key: str) -> bool:
        if isinstance(expert, AdapterLoader):
            return expert.changes(key)
        return not torch.equal(self.base.get_tensor(key), expert.get_tensor(key))


@contextmanager
def input_loaders(recipe: ResolvedRecipe, scratch: Path, options: MergeOptions) -> Iterator[InputLoaders]:
    """Make mergekit read the inputs of a recipe through our loaders until the block ends.

    Args:
        recipe: the recipe.
        scratch: folder for experts that have to be written as checkpoints first.
        options: mergekit's options.

    Yields:
        The loaders.

    Raises:
        FinError: an adapter cannot be merged.
    """
    layers = base_layers(recipe.base)
    sources = [_expert_source(expert, recipe.base, layers, scratch) for expert in recipe.experts]
    untied = any(_differs_in_tying(source, layers) for source in sources)
    if untied and base_layers(recipe.base, untied=True).tied:
        raise FinError(
            f"{recipe.base}: an expert changes only one of output layer and embeddings, and this architecture always "
            "ties them: no merge can represent it, leave the expert out"
        )
    base = open_checkpoint(recipe.base, layers, untied=untied)
    experts = tuple(_open_expert(source, base, untied) for source in sources)
    loaders = {ModelReference.parse(str(recipe.base)): base}
    factor = delta_scale(recipe.method)
    for expert, loader in zip(recipe.experts, experts, strict=True):
        scaled = loader if factor == 1 else ScaledDeltaLoader(loader, base, factor)
        loaders[ModelReference.parse(expert.mergekit_reference(recipe.base))] = scaled
    with loaders_in_place(loaders, options):
        yield InputLoaders(base, experts, untied and layers.tied)


def _expert_source(expert: Expert, base: Path, layers: BaseLayers, scratch: Path) -> AdapterFactors | Path:
    """The expert's factors, or the folder of a checkpoint if factors cannot represent it."""
    if not expert.is_adapter:
        return expert.path
    try:
        factors = read_adapter_factors(expert.name, expert.path, layers)
    except FinError:
        if not needs_peft(expert):
            raise
        return adapter_to_checkpoint(expert, base, scratch)
    factors.check_base(base, read_checkpoint("base", base).weight_shapes(), UntiedLoader(base, layers).get_tensor)
    return factors


def _differs_in_tying(source: AdapterFactors | Path, layers: BaseLayers) -> bool:
    """Whether embeddings and output layer are tied in the expert and not in the base, or the other way round."""
    return source.unties() if isinstance(source, AdapterFactors) else base_layers(source).tied != layers.tied


def _open_expert(source: AdapterFactors | Path, base: LazyTensorLoader, untied: bool) -> LazyTensorLoader:
    if isinstance(source, AdapterFactors):
        return AdapterLoader(base, source)
    return open_checkpoint(source, base_layers(source), untied=untied)
