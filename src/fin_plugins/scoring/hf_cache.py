"""Keys and values that a batch's documents look at: those of their shared beginning, and those of their own tokens."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from fin_plugins.compat.transformers import cached_layer


class Prefix(DynamicCache):
    """The first tokens of a cached text, for every document of a batch; it only lends, and keeps nothing new."""

    def __init__(self, cache: DynamicCache, length: int) -> None:
        super().__init__()
        self._lent, self._length = cache, length

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of the prefix and of the new tokens, [B, heads, length + new, size]."""
        keys, values = cached_layer(self._lent, layer_idx)
        return self._behind(keys, key_states), self._behind(values, value_states)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Number of tokens lent."""
        return self._length

    def _behind(self, cached: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        return torch.cat([cached[:, :, : self._length].expand(len(new), -1, -1, -1), new], dim=-2)


class Kept(DynamicCache):
    """As `Prefix`, but keeps what the batch adds, so that a reply to each document can be written behind it.

    Args:
        cache: of a text.
        length: number of its first tokens that every document begins with; 0 where the cache may be empty.
        room: how many columns of further passes there must be room for, behind the first pass.
    """

    def __init__(self, cache: DynamicCache, length: int, room: int) -> None:
        super().__init__()
        self._lent, self._length, self._room = cache, length, room
        self._held: dict[int, list[torch.Tensor]] = {}
        self._filled = length

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of all columns up to the new ones, [B, heads, columns, size]."""
        if layer_idx not in self._held:
            self._held[layer_idx] = [self._with_room(new) for new in (key_states, value_states)]
            if self._length:
                self._begin(self._held[layer_idx], cached_layer(self._lent, layer_idx))
        columns = self._filled + key_states.shape[-2]
        for held, new in zip(self._held[layer_idx], (key_states, value_states), strict=True):
            held[:, :, self._filled : columns] = new
        keys, values = self._held[layer_idx]
        return keys[:, :, :columns], values[:, :, :columns]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Number of columns kept."""
        return self._filled

    def passed(self, columns: int) -> None:
        """Count the columns of a pass through all layers as kept."""
        self._filled += columns

    def take(self, rows: Sequence[int]) -> None:
        """Keep these rows of the batch only."""
        for layer, held in self._held.items():
            chosen = torch.tensor(rows, device=held[0].device)
            self._held[layer] = [tensor.index_select(0, chosen) for tensor in held]

    def _with_room(self, new: torch.Tensor) -> torch.Tensor:
        batch, heads, columns, size = new.shape
        return new.new_empty(batch, heads, self._length + columns + self._room, size)

    def _begin(self, held: Sequence[torch.Tensor], lent: Sequence[torch.Tensor]) -> None:
        for mine, theirs in zip(held, lent, strict=True):
            mine[:, :, : self._length] = theirs[:, :, : self._length]
