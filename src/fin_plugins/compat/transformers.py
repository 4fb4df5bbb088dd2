"""transformers' private names, tested with 5.19 to 5.24.

Assumed: the configuration of a loaded model names its attention in `_attn_implementation`; a `DynamicCache` keeps keys
and values of each layer, [B, heads, length, size], in `layers[index].keys` and `.values`.
"""

from typing import Any

import torch


def attention_of(config: Any) -> str | None:
    """The attention implementation of a loaded model, for example `sdpa`, `eager` or `flash_attention_2`.

    Args:
        config: transformers' configuration of the loaded model, or of its text model.
    """
    name: str | None = config._attn_implementation
    return name


def cached_layer(cache: Any, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of a layer of a `DynamicCache`, [B, heads, length, size], without copying."""
    entry = cache.layers[layer]
    return entry.keys, entry.values
