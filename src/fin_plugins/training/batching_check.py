"""Whether a trainer's batches give the losses that each row has by itself, token by token; tried once, remembered.

Kernels, masks and positions change from release to release, and a model may ignore a mask without a word. So a few rows
go through the trainer as it will train them, and through the model one by one, without mask, positions or batch.
"""

import inspect
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from platformdirs import user_cache_dir

from fin_plugins.common.atomic import write_file
from fin_plugins.common.errors import FinError
from fin_plugins.common.hashing import digest
from fin_plugins.compat import trl
from fin_plugins.compat.transformers import attention_of
from fin_plugins.scoring import attention_mask
from fin_plugins.scoring.hf_check import TOLERANCE, exact_length
from fin_plugins.training import shared_prefix as layout
from fin_plugins.training import trainer as training
from fin_plugins.training.config import TrainConfig
from fin_plugins.training.examples import IGNORED, Tokens
from fin_plugins.training.report.machine import versions

log = logging.getLogger(__name__)

# `TOLERANCE` is a share of how far log-probabilities lie apart; taken to be so many nats at least.
_NATS = 2.0
_SHORT_ROWS = 3
_SHORTEST = 64
"""The short rows are drawn from so many."""


def disagreement(trainer: training.Trainer, config: TrainConfig, tokens: Sequence[Tokens]) -> str:
    """Why the trainer's losses would be wrong; empty where they are not.

    Losses are compared by the quadratic mean of their differences, so that errors do not cancel.

    Args:
        trainer: as it will train.
        config: the training file, its `batching` decided.
        tokens: the examples; the longest and a few short ones are tried.

    Raises:
        FinError: the losses of plain passes are not finite.
    """
    base, rows = training.base_of(trainer.model), _probe(tokens)
    if config.batching == "padded":
        rows = rows[: config.batch_size]
    note = _note(base, config, len(rows[0]["input_ids"]))
    known = None if config.trust_remote_code else _read(note)
    if known is not None:
        return known
    found = _tried(trainer, base, config, sorted(rows, key=lambda row: row["input_ids"]))
    with suppress(OSError):  # a cache that cannot be written costs time, nothing else
        write_file(note, json.dumps({"reason": found}))
    return found


def _probe(tokens: Sequence[Tokens]) -> list[dict[str, list[int]]]:
    """The longest example, and of the short ones neighbours in the alphabet: they begin alike."""
    ordered = sorted({tuple(one.ids): one for one in tokens}.values(), key=lambda one: len(one.ids))
    short = sorted(ordered[:-1][:_SHORTEST], key=lambda one: one.ids)[:_SHORT_ROWS]
    return [{"input_ids": list(one.ids), "labels": list(one.labels)} for one in (ordered[-1], *short)]


def _tried(trainer: training.Trainer, base: Any, config: TrainConfig, rows: list[dict[str, list[int]]]) -> str:
    try:
        with _evaluating(trainer):
            alone = torch.cat([_plain_losses(base, row) for row in rows])
            batch = _batch(trainer, config.batching, rows)
            here = {name: one.to(base.device) if torch.is_tensor(one) else one for name, one in batch.items()}
            together = trainer.token_losses(trainer.model, here)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, ValueError) as refusal:
        return f"this model does not run ({type(refusal).__name__}: {refusal})".splitlines()[0]
    if not alone.isfinite().all():
        raise FinError(
            f"model: {config.model}: its losses are not finite before any training: look for NaN in its weights, or "
            "use dtype: float32"
        )
    error = float((together - alone).square().mean().sqrt())
    dtype = torch.bfloat16 if trainer.args.bf16 else base.dtype
    log.debug("batching: %s: losses within %.2g nats of plain passes", config.batching, error)
    return "" if error <= _NATS * TOLERANCE[dtype] else f"this model's losses differ (by {error:.2g} nats a token)"


def _batch(trainer: training.Trainer, batching: str, rows: list[dict[str, list[int]]]) -> dict[str, Any]:
    if batching == "shared_prefix":
        return layout.shared_prefix(rows)  # without `hidden`: all in one tree, so that its mask is tried
    if batching != "packed":
        return dict(trainer.data_collator(rows))
    packed = {name: [one for row in rows for one in row[name]] for name in ("input_ids", "labels")}
    return dict(trainer.data_collator([{**packed, "seq_lengths": [len(row["input_ids"]) for row in rows]}]))


@contextmanager
def _evaluating(trainer: training.Trainer) -> Iterator[None]:
    """Without gradients and dropout, and in the type that training computes in."""
    before = trainer.model.training
    trainer.model.eval()
    try:
        with torch.no_grad(), trainer.accelerator.autocast():
            yield
    finally:
        trainer.model.train(before)


def _plain_losses(base: Any, row: dict[str, list[int]]) -> torch.Tensor:
    """Losses of a row's counted tokens, in nats."""
    labels = torch.tensor(row["labels"][1:], device=base.device)
    logits = base(input_ids=torch.tensor([row["input_ids"]], device=base.device), use_cache=False).logits[0, :-1]
    counted = labels != IGNORED
    return torch.nn.functional.cross_entropy(logits[counted].float(), labels[counted], reduction="none")


def _note(base: Any, config: TrainConfig, longest: int) -> Path:
    """Where the answer is kept: by all that it depends on, but the weights."""
    text_config = base.config.get_text_config()
    bound = exact_length(text_config)
    key = {
        "model": {name: value for name, value in base.config.to_dict().items() if name != "_name_or_path"},
        "attention": [attention_of(base.config), attention_of(text_config)],
        "beyond": bool(bound and longest > bound),
        "device": base.device.type,
        "settings": config.model_dump(include={"batching", "loss", "method", "dtype", "lora"}, mode="json"),
        "rows": min(config.batch_size, 1 + _SHORT_ROWS),
        "versions": versions(),
        "code": [inspect.getsource(module) for module in (layout, training, attention_mask, trl)],
    }
    return Path(user_cache_dir("fin-plugins")) / "batching" / f"{digest(key)}.json"


def _read(note: Path) -> str | None:
    try:
        return str(json.loads(note.read_text(encoding="utf-8"))["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
