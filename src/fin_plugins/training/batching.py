"""Which way of batching a model, a device and a loss allow: tried on a few rows, not looked up by name."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from fin_plugins.common.errors import FinError
from fin_plugins.compat.transformers import attention_of
from fin_plugins.scoring.hf_check import exact_length
from fin_plugins.training.batching_check import disagreement
from fin_plugins.training.config import TrainConfig
from fin_plugins.training.examples import Tokens
from fin_plugins.training.trainer import Trainer

log = logging.getLogger(__name__)


def build_checked(
    config: TrainConfig, base: Any, tokens: Sequence[Tokens], build: Callable[[TrainConfig], Trainer]
) -> tuple[TrainConfig, Trainer]:
    """A trainer whose losses are those of plain passes, and the training file with the way of batching it has.

    Args:
        config: the training file; with `batching: auto`, `padded` is used where the first choice does not fit.
        base: the transformers model, its adapter (if any) attached.
        tokens: the examples; a few are tried.
        build: makes the trainer of a training file without `batching: auto`.

    Raises:
        FinError: the way that the training file names gives wrong losses with this model, or padded batches do.
    """
    batching = _first_choice(config, base) if config.batching == "auto" else config.batching
    reason = _beyond(base, tokens) if batching == "shared_prefix" else ""
    if not reason:
        resolved = config.model_copy(update={"batching": batching})
        trainer = build(resolved)
        reason = disagreement(trainer, resolved, tokens)
        if not reason:
            return resolved, trainer
    if batching == "padded":
        raise FinError(f"this model cannot be trained in padded batches: {reason}: try batch_size: 1")
    if config.batching != "auto":
        raise FinError(f"batching: {batching}: {reason}: use padded")
    log.warning("batching: padded, because with %s %s", batching, reason)
    return build_checked(config.model_copy(update={"batching": "padded"}), base, tokens, build)


def _first_choice(config: TrainConfig, base: Any) -> str:
    if config.loss == "all":
        return "packed"
    return "padding_free" if "flash" in str(attention_of(base.config)) else "shared_prefix"


def _beyond(base: Any, tokens: Sequence[Tokens]) -> str:
    """Why examples are too long for one sequence with a mask of ours; empty where they are not."""
    longest, bound = max(len(one.ids) for one in tokens), exact_length(base.config.get_text_config())
    if bound and longest > bound:
        return f"an example of {longest} tokens exceeds the {bound} that a token of this model sees"
    return ""
