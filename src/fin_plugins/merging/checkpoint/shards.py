"""Writes tensors as a sharded safetensors checkpoint; one shard at most is held in memory."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from fin_plugins.common.errors import FinError

_INDEX = "model.safetensors.index.json"


class ShardWriter:
    """Takes tensors one by one; `close` gives the files the names that transformers and vLLM look for."""

    def __init__(self, folder: Path, limit: int) -> None:
        """Take the folder, and how many bytes a file has at most (a single larger tensor has one of its own)."""
        self.bytes = 0
        self._folder = folder
        self._limit = limit
        self._held: dict[str, torch.Tensor] = {}
        self._size = 0
        self._shards: list[list[str]] = []

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """Take a tensor, already in the type it is to have.

        Raises:
            FinError: the folder cannot be written.
        """
        size = tensor.numel() * tensor.element_size()
        if self._held and self._size + size > self._limit:
            self._flush()
        self._held[name] = tensor.contiguous()
        self._size += size
        self.bytes += size

    def close(self) -> None:
        """Write what is left, and the index where there is more than one file."""
        if self._held or not self._shards:
            self._flush()
        count = len(self._shards)
        names = [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
        names = names if count > 1 else ["model.safetensors"]
        for number, name in enumerate(names):
            self._part(number).replace(self._folder / name)
        if count > 1:
            where = {tensor: name for name, tensors in zip(names, self._shards, strict=True) for tensor in tensors}
            index = {"metadata": {"total_size": self.bytes}, "weight_map": dict(sorted(where.items()))}
            (self._folder / _INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")

    def _flush(self) -> None:
        try:
            save_file(self._held, self._part(len(self._shards)), metadata={"format": "pt"})
        except (OSError, SafetensorError) as error:
            raise FinError(f"{self._folder}: cannot be written ({error}): free some space or change --out") from error
        self._shards.append(list(self._held))
        self._held = {}
        self._size = 0

    def _part(self, number: int) -> Path:
        return self._folder / f".part-{number:05}"
