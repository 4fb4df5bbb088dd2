"""Whether training changed anything: a model that is as it was before is not called trained."""

from typing import Any

import torch

from fin_plugins.common.errors import FinError
from fin_plugins.training.config import TrainConfig

Fingerprint = dict[str, tuple[float, float]]


def fingerprint(model: Any) -> Fingerprint:
    """Sum and Euclidean norm of each parameter that is trained: two numbers instead of a copy of the weights."""
    weights = ((name, weight.detach()) for name, weight in model.named_parameters() if weight.requires_grad)
    return {
        name: (weight.sum(dtype=torch.float64).item(), torch.linalg.vector_norm(weight, dtype=torch.float64).item())
        for name, weight in weights
    }


def refuse_untrained(model: Any, before: Fingerprint, config: TrainConfig) -> None:
    """Refuse a model that training left as it was; to be asked before anything of it is published.

    Args:
        model: as it would be kept.
        before: its fingerprint when training began (also of the first part of a run that was resumed).
        config: the training file.

    Raises:
        FinError: an adapter's factors B are all 0, so that it adds nothing to its base; or no weight changed.
    """
    after = fingerprint(model)
    factors = [norm for name, (_, norm) in after.items() if ".lora_B." in name]
    if (factors and not any(factors)) or after == before:
        what = "its factors B are all 0" if factors else "its weights are those of the base"
        raise FinError(
            f"nothing was learnt: the kept {'adapter' if factors else 'model'} is as it was before training ({what}), "
            f"so it is not written: raise learning_rate (now {config.learning_rate:g}), epochs or max_steps, and train "
            "with --fresh"
        )
