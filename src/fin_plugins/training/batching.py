"""Which way of batching a model, a device and a loss allow: tried on the first rows, not looked up by name."""

import logging
from collections.abc import Sequence
from typing import Any

import torch

from fin_plugins.errors import FinError
from fin_plugins.scoring.hf_check import TOLERANCE, exact_length
from fin_plugins.training.config import TrainConfig
from fin_plugins.training.examples import IGNORED, Tokens
from fin_plugins.training.shared_prefix import shared_prefix

log = logging.getLogger(__name__)

_PROBES = 4


def choose_batching(config: TrainConfig, base: Any, tokens: Sequence[Tokens]) -> str:
    """The way of batching to use.

    Args:
        config: the training file.
        base: the transformers model, its adapter (if any) attached.
        tokens: the examples; the first few are tried.

    Raises:
        FinError: the way that the training file names would give wrong losses with this model.
    """
    flash = "flash" in str(base.config._attn_implementation)
    if config.batching == "shared_prefix" or (config.batching == "auto" and config.loss == "completion" and not flash):
        reason = _misfit(base, tokens)
        if not reason:
            return "shared_prefix"
        if config.batching == "shared_prefix":
            raise FinError(f"batching: shared_prefix: {reason}: use padded")
        log.warning("batching: padded, because with shared_prefix %s", reason)
        return "padded"
    if config.batching == "auto":
        return "packed" if config.loss == "all" else "padding_free"
    if config.batching in ("packed", "padding_free") and not flash and (reason := _bleeds(base)):
        raise FinError(f"batching: {config.batching}: {reason}: use padded")
    return config.batching


def _misfit(base: Any, tokens: Sequence[Tokens]) -> str:
    """Why shared prefixes would not give a padded batch's losses; empty where they do."""
    longest, bound = max(len(one.ids) for one in tokens), exact_length(base.config.get_text_config())
    if bound and longest > bound:
        return f"an example of {longest} tokens exceeds the {bound} that a token of this model sees"
    try:
        error = _difference(base, tokens[:_PROBES])
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, ValueError) as refusal:  # layers that are no attention have no use for its mask
        return f"this model does not run ({str(refusal).splitlines()[0]})"
    return f"this model's losses differ (by {error:.2g} nats a token)" if error > TOLERANCE[base.dtype] else ""


def _difference(base: Any, tokens: Sequence[Tokens]) -> float:
    """Between both ways, the difference of the mean loss a token, in nats."""
    training = base.training
    base.eval()
    with torch.no_grad():
        together = _losses(base, shared_prefix([{"input_ids": one.ids, "labels": one.labels} for one in tokens]))
        alone = [_losses(base, _batch_of_one(one)) for one in tokens]
    base.train(training)
    return abs(float(together.sum() - torch.cat(alone).sum())) / max(1, len(together))


def _batch_of_one(one: Tokens) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.tensor([one.ids]), "labels": torch.tensor([one.labels])}


def _losses(base: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Losses of the counted tokens of a batch, in nats."""
    batch = {name: value.to(base.device) for name, value in batch.items() if name not in ("given", "trees")}
    labels = batch.pop("labels")[:, 1:]
    logits = base(**batch, use_cache=False).logits[:, :-1].float()
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return losses[labels.flatten() != IGNORED]


def _bleeds(base: Any) -> str:
    """Why examples in one sequence would see each other; empty where they cannot.

    transformers masks them apart by their position ids, for the kernels that take a mask; a model with layers that are
    no attention carries its state over.
    """
    draw = torch.Generator().manual_seed(3)
    one, other, changed = (torch.randint(base.config.get_text_config().vocab_size, (6,), generator=draw) for _ in "abc")
    positions = torch.arange(6).repeat(2)[None].to(base.device)
    pairs = [torch.cat([first, other])[None].to(base.device) for first in (one, changed)]
    training = base.training
    base.eval()
    with torch.no_grad():
        seen = [base(input_ids=pair, position_ids=positions, use_cache=False).logits[0, 6:] for pair in pairs]
    base.train(training)
    return "" if torch.equal(*seen) else "examples of one sequence see each other with this model's attention"
