"""TRL's private names, tested with 1.16.

Assumed of `SFTTrainer`: `_metrics["eval"]` collects metrics of TRL's loss, which the next `log` would mix with
ours; the model it has patched accepts `fused_lm_head=True` and then returns `log_probs` of all positions and the
`label_mask` of positions that count, without materialising the vocabulary at all positions.
"""

from collections.abc import Mapping
from typing import Any

import torch


def forget_evaluation_metrics(trainer: Any) -> None:
    """Discard metrics that an `SFTTrainer` has collected in evaluation since it last logged."""
    trainer._metrics["eval"].clear()


def fused_losses(model: Any, inputs: Mapping[str, Any]) -> torch.Tensor:
    """Losses (nats) of a batch's counted tokens, computed by TRL's fused output layer.

    Args:
        model: model of an `SFTTrainer`, possibly wrapped.
        inputs: keyword arguments of its `forward`, including labels.
    """
    outputs = model(**inputs, use_cache=False, fused_lm_head=True)
    losses: torch.Tensor = -outputs.log_probs[outputs.label_mask]
    return losses
