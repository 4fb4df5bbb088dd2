"""transformers' private names, tried with 5.19 to 5.24.

Assumed: a loaded model's configuration has its attention's name in `_attn_implementation`; a `DynamicCache` keeps keys
and values of each layer, [B, heads, length, size], in `layers[index].keys` and `.values`.
"""

from typing import Any

import torch


def attention_of(config: Any) -> str | None:
    """The attention that a model was loaded with, as `sdpa`, `eager` or `flash_attention_2`.

    Args:
        config: transformers' configuration of the loaded model, or of its text model.
    """
    name: str | None = config._attn_implementation
    return name


def cached_layer(cache: Any, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of a layer of a `DynamicCache`, [B, heads, length, size]; its own tensors, not copies."""
    entry = cache.layers[layer]
    return entry.keys, entry.values
