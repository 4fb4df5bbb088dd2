"""How mergekit reads the inputs: an adapter looks to it like a checkpoint in float32, and is never written as one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mergekit.common import ModelReference
from mergekit.options import MergeOptions

from fin_plugins.common.errors import FinError
from fin_plugins.compat.mergekit import LazyTensorLoader, loaders_in_place
from fin_plugins.evaluation.base_layers import BaseLayers, base_layers
from fin_plugins.merging.adapters.dense import Weights, check_shapes
from fin_plugins.merging.adapters.factors import Factors, read_factors
from fin_plugins.merging.checkpoint.whole import whole_checkpoint
from fin_plugins.merging.model import Expert, Filled
from fin_plugins.merging.planning import stretch
from fin_plugins.merging.recipes.expand import reference
from fin_plugins.merging.untied import open_loader


class AdaptedLoader(LazyTensorLoader):
    """The base's tensors with an adapter's change added, computed in float32 at the moment they are asked for."""

    def __init__(self, base: LazyTensorLoader, factors: Factors) -> None:
        """Take the base's loader and the adapter."""
        super().__init__(base.index)
        self._base, self._factors = base, factors

    def get_tensor(
        self, key: str, device: str = "cpu", aliases: list[str] | None = None, raise_on_missing: bool = True
    ) -> torch.Tensor | None:
        """One tensor; in float32 where the adapter changes it."""
        tensor: torch.Tensor | None = self._base.get_tensor(key, device, aliases, raise_on_missing)
        if tensor is None or not self.changes(key):
            return tensor
        change = self._factors.change(key.removesuffix(".weight"), tensor.device)
        return tensor.float() + change

    def changes(self, key: str) -> bool:
        """Whether the adapter changes this tensor; nothing is read."""
        return key.endswith(".weight") and key.removesuffix(".weight") in self._factors.scales


class StretchedLoader(LazyTensorLoader):
    """An expert's tensors with their distance from the base's multiplied, in float32."""

    def __init__(self, expert: LazyTensorLoader, base: LazyTensorLoader, factor: float) -> None:
        """Take the loader of the expert and that of the base."""
        super().__init__(expert.index)
        self._expert, self._base, self._factor = expert, base, factor

    def get_tensor(
        self, key: str, device: str = "cpu", aliases: list[str] | None = None, raise_on_missing: bool = True
    ) -> torch.Tensor | None:
        """One tensor, as far again from the base's."""
        tensor: torch.Tensor | None = self._expert.get_tensor(key, device, aliases, raise_on_missing)
        base = self._base.get_tensor(key, device, aliases, raise_on_missing)
        if tensor is None or base is None or not tensor.is_floating_point():
            return tensor
        return base.float() + self._factor * (tensor.float() - base.float())


@dataclass(frozen=True)
class Opened:
    """The loaders of base and experts.

    Attributes:
        base: the base's.
        experts: the experts', in their order.
        untied: whether output layer and embeddings, one weight in the base, are to be two in the result.
    """

    base: LazyTensorLoader
    experts: tuple[LazyTensorLoader, ...]
    untied: bool

    def unchanged(self, key: str) -> bool:
        """Whether a tensor is the base's in every expert; of adapters nothing is read for it."""
        return not any(self._changes(expert, key) for expert in self.experts)

    def _changes(self, expert: LazyTensorLoader, key: str) -> bool:
        if isinstance(expert, AdaptedLoader):
            return expert.changes(key)
        ours, theirs = self.base.get_tensor(key), expert.get_tensor(key)
        return not torch.equal(ours, theirs)


@contextmanager
def loaders(filled: Filled, scratch: Path, options: MergeOptions) -> Iterator[Opened]:
    """Have mergekit read the inputs through our loaders, until the block ends.

    Args:
        filled: the recipe, filled in.
        scratch: a folder for what cannot be read on the fly.
        options: mergekit's.

    Yields:
        The loaders.

    Raises:
        FinError: an adapter cannot be merged.
    """
    layers = base_layers(filled.base)
    sources = [_source(expert, filled.base, layers, scratch) for expert in filled.experts]
    untied = any(_unties(source, layers) for source in sources)
    if untied and base_layers(filled.base, untied=True).tied:
        raise FinError(
            f"{filled.base}: an expert changes the output layer or the embeddings alone, and this architecture always "
            "ties them: no merge holds that, leave the expert out"
        )
    base = open_loader(filled.base, layers, untied=untied)
    opened: dict[Any, LazyTensorLoader] = {ModelReference.parse(str(filled.base)): base}
    experts = tuple(_loader(source, base, untied) for source in sources)
    larger = stretch(filled.method)
    for expert, loader in zip(filled.experts, experts, strict=True):
        stretched = loader if larger == 1 else StretchedLoader(loader, base, larger)
        opened[ModelReference.parse(reference(expert, filled.base))] = stretched
    with loaders_in_place(opened, options):
        yield Opened(base, experts, untied and layers.tied)


def _source(expert: Expert, base: Path, layers: BaseLayers, scratch: Path) -> Factors | Path:
    """The expert's factors, or where they are not all of it, a checkpoint's folder."""
    if not expert.is_adapter:
        return expert.path
    try:
        factors = read_factors(expert.name, expert.path, layers)
    except FinError as error:
        return whole_checkpoint(expert, base, scratch, error)
    weights = Weights(base, layers)
    check_shapes([factors], weights)
    factors.check_copies(weights.stored)
    return factors


def _unties(source: Factors | Path, layers: BaseLayers) -> bool:
    """Whether an expert has output layer and embeddings tied otherwise than the base."""
    return source.unties() if isinstance(source, Factors) else base_layers(source).tied != layers.tied


def _loader(source: Factors | Path, base: LazyTensorLoader, untied: bool) -> LazyTensorLoader:
    if isinstance(source, Factors):
        return AdaptedLoader(base, source)
    return open_loader(source, base_layers(source), untied=untied)
