"""TRL's private names, tried with 1.16.

Assumed of `SFTTrainer`: `_metrics["eval"]` gathers figures of its own loss, which the next `log` would write among
ours; the model that it has patched takes `fused_lm_head=True` and then gives `log_probs` of all positions and the
`label_mask` of those that count, without holding the whole vocabulary at all positions.
"""

from collections.abc import Mapping
from typing import Any

import torch


def forget_evaluation_metrics(trainer: Any) -> None:
    """Drop what an `SFTTrainer` has gathered in evaluation since it last logged."""
    trainer._metrics["eval"].clear()


def fused_losses(model: Any, inputs: Mapping[str, Any]) -> torch.Tensor:
    """Losses (nats) of a batch's counted tokens, by TRL's output layer.

    Args:
        model: an `SFTTrainer`'s, as it may be wrapped.
        inputs: keyword arguments of its `forward`, labels among them.
    """
    outputs = model(**inputs, use_cache=False, fused_lm_head=True)
    losses: torch.Tensor = -outputs.log_probs[outputs.label_mask]
    return losses
