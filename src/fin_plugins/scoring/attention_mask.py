"""A four-dimensional attention mask in the form that a model's attention takes.

PyTorch's `scaled_dot_product_attention` takes a boolean mask. transformers' `eager` attention adds the mask to its
scores, and would add True as 1 without a word: it needs 0 where a token may look and the lowest number elsewhere.
"""

from typing import Any

import torch

from fin_plugins.compat.transformers import attention_of


def mask_dtype(text_config: Any, dtype: torch.dtype) -> torch.dtype:
    """Type of the mask for a model: `torch.bool`, or the type of a mask that is added.

    Args:
        text_config: `transformers` configuration of the text model, loaded with its attention.
        dtype: what the model computes in.
    """
    return torch.bool if attention_of(text_config) == "sdpa" else dtype


def as_mask(allowed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The mask of a type from `mask_dtype`; same shape and device.

    Args:
        allowed: bool, whether a token may look at another.
        dtype: of the mask.
    """
    if dtype == torch.bool:
        return allowed
    return torch.zeros_like(allowed, dtype=dtype).masked_fill_(~allowed, torch.finfo(dtype).min)
