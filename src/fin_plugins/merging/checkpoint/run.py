"""From a filled-in recipe to a checkpoint on disk."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from fin_plugins.merging.checkpoint.carried import carry
from fin_plugins.merging.checkpoint.error import MAX_ROUNDING, ErrorOfChange, check_rounding
from fin_plugins.merging.checkpoint.shards import ShardWriter
from fin_plugins.merging.checkpoint.tensors import planned
from fin_plugins.merging.checkpoint.whole import held_by_adapter
from fin_plugins.merging.inputs.checkpoint import Checkpoint
from fin_plugins.merging.inputs.resources import SHARD_BYTES
from fin_plugins.merging.model import Filled

_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_EXPERTS = ".experts"


@dataclass(frozen=True)
class Written:
    """What a checkpoint merge wrote.

    Attributes:
        tensors: how many.
        bytes: of all weights.
        error: how far the written change is from the exact one.
        untied: whether the output layer has a weight of its own now, which in the base it shares with the embeddings.
        held_by_adapter: whether `--as-adapter` would give the same merge exactly.
        seconds: of merging and writing.
    """

    tensors: int
    bytes: int
    error: ErrorOfChange
    untied: bool
    held_by_adapter: bool
    seconds: float


def merge_as_checkpoint(
    filled: Filled,
    base: Checkpoint,
    folder: Path,
    *,
    device: str = "cpu",
    shard_bytes: int = SHARD_BYTES,
    max_rounding: float = MAX_ROUNDING,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Written:
    """Merge into a checkpoint, tensor by tensor.

    Args:
        filled: the recipe, filled in.
        base: the base model.
        folder: where the checkpoint goes, an empty folder nobody reads yet.
        device: where tensors are computed.
        shard_bytes: largest file of weights.
        max_rounding: what rounding may lose of the change, as a share of its norm; 1 for all of it.
        progress: told how many tensors are done, and of how many.

    Raises:
        FinError: an input cannot be merged, the result is not finite, or rounding loses too much.
        OSError: the folder cannot be written.
    """
    start, done = time.monotonic(), 0
    exact = held_by_adapter(filled)
    writer, error = ShardWriter(folder, shard_bytes), ErrorOfChange()
    scratch = folder / _EXPERTS
    with planned(filled, scratch, device) as plan:
        for done, merged in enumerate(plan.tensors, start=1):
            whole = merged.value.is_floating_point()
            written = merged.value.to(_TYPES[filled.dtype]) if whole else merged.value
            error.add(merged, written)
            writer.add(merged.name, written)
            progress(done, plan.count)
    check_rounding(error, filled.dtype, max_rounding, exact)
    writer.close()
    shutil.rmtree(scratch, ignore_errors=True)
    carry(base, filled.dtype, folder, untied=plan.untied)
    return Written(done, writer.bytes, error, plan.untied, exact, time.monotonic() - start)
