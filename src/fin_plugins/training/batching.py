"""Which kind of batch a model, a device and a loss allow, tested on a few examples with the trainer that will run.

Kernels, masks and positions change between releases, and a model may silently ignore a mask. So a few examples go
through the trainer and, one by one, through the model without mask, positions or batch; losses must agree. The result
is cached.
"""

import inspect
import json
import logging
from collections.abc import Callable, Iterator, Sequence
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
from fin_plugins.scoring import tree_attention
from fin_plugins.scoring.tree_equivalence import TOLERANCE, exact_length
from fin_plugins.training import shared_prefix, trainer
from fin_plugins.training.machine import versions
from fin_plugins.training.train_config import TrainConfig
from fin_plugins.training.trainer import LabelTrainer, base_model_of
from fin_plugins.training.training_examples import IGNORED, TokenizedExample

log = logging.getLogger(__name__)

_NATS = 2.0  # assumed distance between log-probabilities, which `TOLERANCE` is a fraction of
_SHORT_EXAMPLES = 3
_SHORT_CANDIDATES = 64  # the short examples are chosen among this many of the shortest


def build_checked_trainer(
    config: TrainConfig, base: Any, examples: Sequence[TokenizedExample], build: Callable[[TrainConfig], LabelTrainer]
) -> tuple[TrainConfig, LabelTrainer]:
    """Build a trainer whose losses equal those of single examples.

    Args:
        config: the training file; with `batching: auto`, `padded` is used if the first choice does not work.
        base: the transformers model, with its adapter, if any, attached.
        examples: the examples; a few are tested.
        build: builds the trainer for a training file without `batching: auto`.

    Returns:
        The training file with its batching, and the trainer.

    Raises:
        FinError: losses are wrong with the batching that the training file names, or with padded batches.
    """
    batching = _preferred_batching(config, base) if config.batching == "auto" else config.batching
    reason = _length_problem(base, examples) if batching == "shared_prefix" else ""
    if not reason:
        resolved = config.model_copy(update={"batching": batching})
        built = build(resolved)
        reason = loss_mismatch(built, resolved, examples)
        if not reason:
            return resolved, built
    if batching == "padded":
        raise FinError(f"this model cannot be trained in padded batches: {reason}: try batch_size: 1")
    if config.batching != "auto":
        raise FinError(f"batching: {batching}: {reason}: use padded")
    log.warning("batching: padded, because with %s %s", batching, reason)
    return build_checked_trainer(config.model_copy(update={"batching": "padded"}), base, examples, build)


def loss_mismatch(built: LabelTrainer, config: TrainConfig, examples: Sequence[TokenizedExample]) -> str:
    """Why the trainer's losses would be wrong; empty if they are right.

    Losses are compared by the root mean square of their differences, so that errors do not cancel.

    Args:
        built: the trainer.
        config: the training file, without `batching: auto`.
        examples: the examples; the longest and a few short ones are tested.

    Raises:
        FinError: the losses of single examples are not finite.
    """
    base, rows = base_model_of(built.model), _test_rows(examples)
    if config.batching == "padded":
        rows = rows[: config.batch_size]
    cache_file = _cache_file(base, config, len(rows[0]["input_ids"]))
    cached = None if config.trust_remote_code else _read_cache(cache_file)
    if cached is not None:
        return cached
    reason = _compare_losses(built, base, config, sorted(rows, key=lambda row: row["input_ids"]))
    with suppress(OSError):  # without a cache the test only takes time
        write_file(cache_file, json.dumps({"reason": reason}))
    return reason


def _preferred_batching(config: TrainConfig, base: Any) -> str:
    if config.loss == "all":
        return "packed"
    return "padding_free" if "flash" in str(attention_of(base.config)) else "shared_prefix"


def _length_problem(base: Any, examples: Sequence[TokenizedExample]) -> str:
    """Why the examples are too long for one sequence with a custom mask; empty if they are not."""
    longest = max(len(example.ids) for example in examples)
    bound = exact_length(base.config.get_text_config())
    if bound and longest > bound:
        return f"an example of {longest} tokens exceeds the {bound} tokens that a token of this model attends to"
    return ""


def _test_rows(examples: Sequence[TokenizedExample]) -> list[dict[str, list[int]]]:
    """The longest example, and a few short ones with a common beginning."""
    by_length = sorted({tuple(example.ids): example for example in examples}.values(), key=lambda it: len(it.ids))
    short = sorted(by_length[:-1][:_SHORT_CANDIDATES], key=lambda it: it.ids)[:_SHORT_EXAMPLES]
    return [{"input_ids": list(example.ids), "labels": list(example.labels)} for example in (by_length[-1], *short)]


def _compare_losses(built: LabelTrainer, base: Any, config: TrainConfig, rows: list[dict[str, list[int]]]) -> str:
    try:
        with _evaluation_mode(built):
            single = torch.cat([_single_losses(base, row) for row in rows])
            batch = _collate(built, config.batching, rows)
            inputs = {name: value.to(base.device) if torch.is_tensor(value) else value for name, value in batch.items()}
            batched = built.token_losses(built.model, inputs)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, ValueError) as error:
        return f"this model does not run ({type(error).__name__}: {error})".splitlines()[0]
    if not single.isfinite().all():
        raise FinError(
            f"model: {config.model}: its losses are not finite before any training: look for NaN in its weights, or "
            "use dtype: float32"
        )
    difference = float((batched - single).square().mean().sqrt())
    dtype = torch.bfloat16 if built.args.bf16 else base.dtype
    log.debug("batching: %s: losses within %.2g nats of single examples", config.batching, difference)
    if difference <= _NATS * TOLERANCE[dtype]:
        return ""
    return f"this model's losses differ (by {difference:.2g} nats per token)"


def _collate(built: LabelTrainer, batching: str, rows: list[dict[str, list[int]]]) -> dict[str, Any]:
    if batching == "shared_prefix":
        return shared_prefix.collate_shared_prefix(rows)  # without `hidden_size`, all in one tree: tests its mask
    if batching != "packed":
        return dict(built.data_collator(rows))
    packed = {name: [value for row in rows for value in row[name]] for name in ("input_ids", "labels")}
    return dict(built.data_collator([{**packed, "seq_lengths": [len(row["input_ids"]) for row in rows]}]))


@contextmanager
def _evaluation_mode(built: LabelTrainer) -> Iterator[None]:
    """No gradients and no dropout, in the dtype that training computes in."""
    training = built.model.training
    built.model.eval()
    try:
        with torch.no_grad(), built.accelerator.autocast():
            yield
    finally:
        built.model.train(training)


def _single_losses(base: Any, row: dict[str, list[int]]) -> torch.Tensor:
    """Losses of a row's counted tokens, in nats."""
    labels = torch.tensor(row["labels"][1:], device=base.device)
    logits = base(input_ids=torch.tensor([row["input_ids"]], device=base.device), use_cache=False).logits[0, :-1]
    counted = labels != IGNORED
    return torch.nn.functional.cross_entropy(logits[counted].float(), labels[counted], reduction="none")


def _cache_file(base: Any, config: TrainConfig, longest: int) -> Path:
    """Cache file of the result, named by all that the result depends on except the weights."""
    text_config = base.config.get_text_config()
    bound = exact_length(text_config)
    key = {
        "model": {name: value for name, value in base.config.to_dict().items() if name != "_name_or_path"},
        "attention": [attention_of(base.config), attention_of(text_config)],
        "beyond": bool(bound and longest > bound),
        "device": base.device.type,
        "settings": config.model_dump(include={"batching", "loss", "method", "dtype", "lora"}, mode="json"),
        "rows": min(config.batch_size, 1 + _SHORT_EXAMPLES),
        "versions": versions(),
        "code": [inspect.getsource(module) for module in (shared_prefix, trainer, tree_attention, trl)],
    }
    return Path(user_cache_dir("fin-plugins")) / "batching" / f"{digest(key)}.json"


def _read_cache(file: Path) -> str | None:
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
