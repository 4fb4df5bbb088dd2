"""A model whose output layer has the weight of its embeddings, read as if it had one of its own."""

from dataclasses import replace
from pathlib import Path

import torch

from fin_plugins.compat.mergekit import LazyTensorLoader, ShardedTensorIndex
from fin_plugins.evaluation.base_layers import BaseLayers


class UntiedLoader(LazyTensorLoader):
    """A checkpoint's tensors, and those of the embeddings a second time under the output layer's name."""

    def __init__(self, folder: Path, layers: BaseLayers) -> None:
        """Take the checkpoint's folder and its layers."""
        index = ShardedTensorIndex.from_disk(str(folder))
        self._head, self._source = f"{layers.head}.weight", layers.tensor(layers.head)
        self._tied = layers.tied and self._source in index.tensor_paths
        paths = {self._head: index.tensor_paths[self._source]} if self._tied else {}
        super().__init__(replace(index, tensor_paths={**index.tensor_paths, **paths}))

    def get_tensor(
        self, key: str, device: str = "cpu", aliases: list[str] | None = None, raise_on_missing: bool = True
    ) -> torch.Tensor | None:
        """One tensor; what a tied model's files may hold for the output layer is not used, as by transformers."""
        stored = self._source if self._tied and key == self._head else key
        tensor: torch.Tensor | None = super().get_tensor(stored, device, aliases, raise_on_missing)
        return tensor


def open_loader(folder: Path, layers: BaseLayers, *, untied: bool) -> LazyTensorLoader:
    """The tensors of a checkpoint as transformers uses them.

    Args:
        folder: the checkpoint.
        layers: its layers.
        untied: whether the output layer is to have a weight of its own.
    """
    index = ShardedTensorIndex.from_disk(str(folder))
    named = f"{layers.head}.weight" in index.tensor_paths
    return UntiedLoader(folder, layers) if untied or (layers.tied and named) else LazyTensorLoader(index)
