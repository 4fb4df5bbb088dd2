"""Merges into a checkpoint: mergekit computes each tensor in float32, which is rounded once and written."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mergekit.options import MergeOptions
from safetensors import SafetensorError
from safetensors.torch import save_file

from fin_plugins.common.errors import FinError, first_line
from fin_plugins.compat import mergekit
from fin_plugins.merging.checkpoints import Checkpoint
from fin_plugins.merging.merge_error import MAX_ROUNDING, TORCH_DTYPES, DeltaRoundingError, check_rounding
from fin_plugins.merging.merge_plan import is_linear, plan_tensors, silence_warnings
from fin_plugins.merging.peft_merge import SHARD_BYTES, needs_peft
from fin_plugins.merging.recipes.recipe_model import ResolvedRecipe
from fin_plugins.merging.tensor_loaders import InputLoaders, delta_scale, input_loaders

# All methods but these return the common tensor if all inputs are equal, so nothing need be computed for a tensor that
# no expert changes, such as the embeddings under most adapters; mergekit's multislerp would even raise an error.
_SCALING_METHODS = ("linear", "passthrough")
_SCRATCH = ".experts"
_INDEX = "model.safetensors.index.json"
_BASE_FILES = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
_NOT_COPIED = ("config.json", "merge.json", "train.json", "run.json")


@dataclass(frozen=True)
class CheckpointMerge:
    """A merged checkpoint as written.

    Attributes:
        tensors: number of tensors.
        bytes: bytes of all weights.
        error: what rounding lost of the merged change.
        untied: whether the output layer, which shares a weight with the embeddings in the base, has its own now.
        adapter_is_exact: whether `--as-adapter` would give the same merge exactly.
        seconds: time of merging and writing.
    """

    tensors: int
    bytes: int
    error: DeltaRoundingError
    untied: bool
    adapter_is_exact: bool
    seconds: float


def merge_as_checkpoint(
    recipe: ResolvedRecipe,
    base: Checkpoint,
    folder: Path,
    *,
    device: str = "cpu",
    shard_bytes: int = SHARD_BYTES,
    max_rounding: float = MAX_ROUNDING,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> CheckpointMerge:
    """Merge into a checkpoint, tensor by tensor.

    Args:
        recipe: the recipe.
        base: the base model.
        folder: folder of the checkpoint; exists and is empty.
        device: device to compute on: `cpu` or `cuda`.
        shard_bytes: maximum size of a file of weights.
        max_rounding: maximum share of the merged change that rounding may lose; 1 for no limit.
        progress: called with the number of tensors done and the total.

    Raises:
        FinError: an input cannot be merged, the result is not finite, or rounding loses too much.
        OSError: the folder cannot be written.
    """
    start, done = time.monotonic(), 0
    adapter_is_exact = is_linear(recipe.method) and all(
        expert.is_adapter and not needs_peft(expert) for expert in recipe.experts
    )
    writer, error = ShardWriter(folder, shard_bytes), DeltaRoundingError()
    scratch = folder / _SCRATCH
    with merged_tensors(recipe, scratch, device) as merge:
        for done, tensor in enumerate(merge.tensors, start=1):
            value = tensor.value
            written = value.to(TORCH_DTYPES[recipe.dtype]) if value.is_floating_point() else value
            error.add(tensor.name, value, tensor.base, written)
            writer.add(tensor.name, written)
            progress(done, merge.count)
    check_rounding(error, recipe.dtype, max_rounding, adapter_is_exact)
    writer.close()
    shutil.rmtree(scratch, ignore_errors=True)
    copy_base_files(base, recipe.dtype, folder, untied=merge.untied)
    return CheckpointMerge(done, writer.bytes, error, merge.untied, adapter_is_exact, time.monotonic() - start)


@dataclass(frozen=True)
class MergedTensor:
    """One tensor of the result before rounding.

    Attributes:
        name: name in the checkpoint.
        value: the merged tensor; in float32 if it is a floating-point tensor.
        base: the base's tensor as stored.
    """

    name: str
    value: torch.Tensor
    base: torch.Tensor


@dataclass(frozen=True)
class TensorStream:
    """The tensors of a merge, computed one after another, their number, and whether they untie the output layer."""

    count: int
    tensors: Iterator[MergedTensor]
    untied: bool


@contextmanager
def merged_tensors(recipe: ResolvedRecipe, scratch: Path, device: str = "cpu") -> Iterator[TensorStream]:
    """Plan a merge and compute its tensors on demand, until the block ends.

    Args:
        recipe: the recipe.
        scratch: folder for experts that have to be written as checkpoints first.
        device: device to compute on: `cpu` or `cuda`.

    Raises:
        FinError: mergekit rejects the recipe for this model, or a tensor cannot be merged.
    """
    options = MergeOptions(device=device, quiet=True, trust_remote_code=False)
    with (
        silence_warnings(),
        torch.random.fork_rng(),
        torch.no_grad(),
        input_loaders(recipe, scratch, options) as loaders,
    ):
        tasks = _select_base_tensors(recipe, plan_tensors(recipe, options), loaders.base.index.tensor_paths)
        tensors = (_merge_tensor(recipe, task, loaders, device) for task in tasks)
        yield TensorStream(len(tasks), tensors, loaders.untied)


def _select_base_tensors(recipe: ResolvedRecipe, tasks: list[Any], base_tensors: Any) -> list[Any]:
    """The tasks for the base's tensors; mergekit also plans some that only older checkpoints have."""
    if missing := sorted(set(base_tensors) - {task.tensor_name for task in tasks}):
        raise FinError(
            f"{recipe.base}: mergekit would leave out {len(missing)} of its tensors ({missing[0]} …): this version of "
            "mergekit does not know the architecture as it is saved now"
        )
    return [task for task in tasks if task.tensor_name in base_tensors]


def _merge_tensor(recipe: ResolvedRecipe, task: Any, loaders: InputLoaders, device: str) -> MergedTensor:
    name = task.tensor_name
    base = loaders.base.get_tensor(name)
    base_value = base.float() if base.is_floating_point() else base
    if recipe.method not in _SCALING_METHODS and "models" in recipe.config and loaders.is_unchanged(name):
        return MergedTensor(name, base_value, base)
    value = _compute_tensor(recipe, task, device)
    scale = delta_scale(recipe.method)
    if scale != 1 and value.is_floating_point():
        value = base_value + (value - base_value) / scale
    return MergedTensor(name, value, base)


def _compute_tensor(recipe: ResolvedRecipe, task: Any, device: str) -> torch.Tensor:
    """Let mergekit compute a tensor; random methods draw from a seed of the tensor's own."""
    name = task.tensor_name
    torch.manual_seed(recipe.tensor_seed(name))
    try:
        value = mergekit.compute(task, device)
    except (ValueError, RuntimeError, TypeError, KeyError) as error:
        raise FinError(f"{name}: mergekit's {recipe.method} cannot merge it ({first_line(error)})") from error
    if not bool(torch.isfinite(value).all()):
        raise FinError(f"{name}: the merge is not finite: check the weights, or leave an expert out")
    return value


class ShardWriter:
    """Writes tensors as a sharded safetensors checkpoint and holds at most one shard in memory."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Start a checkpoint.

        Args:
            folder: folder of the checkpoint.
            max_bytes: maximum size of a file; a single larger tensor gets its own file.
        """
        self.bytes = 0
        self._folder = folder
        self._max_bytes = max_bytes
        self._shard: dict[str, torch.Tensor] = {}
        self._shard_bytes = 0
        self._written: list[list[str]] = []

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """Add a tensor in the type to be written.

        Raises:
            FinError: the folder cannot be written.
        """
        size = tensor.numel() * tensor.element_size()
        if self._shard and self._shard_bytes + size > self._max_bytes:
            self._flush()
        self._shard[name] = tensor.contiguous()
        self._shard_bytes += size
        self.bytes += size

    def close(self) -> None:
        """Write the last shard, give the files the names that transformers and vLLM expect, and write the index."""
        if self._shard or not self._written:
            self._flush()
        count = len(self._written)
        names = [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
        names = names if count > 1 else ["model.safetensors"]
        for number, name in enumerate(names):
            self._part(number).replace(self._folder / name)
        if count > 1:
            files = {tensor: name for name, tensors in zip(names, self._written, strict=True) for tensor in tensors}
            index = {"metadata": {"total_size": self.bytes}, "weight_map": dict(sorted(files.items()))}
            (self._folder / _INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")

    def _flush(self) -> None:
        try:
            save_file(self._shard, self._part(len(self._written)), metadata={"format": "pt"})
        except (OSError, SafetensorError) as error:
            raise FinError(f"{self._folder}: cannot be written ({error}): free some space or change --out") from error
        self._written.append(list(self._shard))
        self._shard = {}
        self._shard_bytes = 0

    def _part(self, number: int) -> Path:
        return self._folder / f".part-{number:05}"


def copy_base_files(base: Checkpoint, dtype: str, folder: Path, *, untied: bool = False) -> None:
    """Copy the base's tokenizer, chat template and generation settings, and write its adjusted configuration."""
    for file in (file for pattern in _BASE_FILES for file in base.folder.glob(pattern)):
        if file.is_file() and file.name not in _NOT_COPIED and not file.name.endswith(".index.json"):
            shutil.copyfile(file, folder / file.name)
    templates = base.folder / "additional_chat_templates"
    if templates.is_dir():
        shutil.copytree(templates, folder / templates.name)
    # No code is copied, so nothing may refer to it; transformers supports the architecture without it.
    config = {key: value for key, value in base.config.items() if key not in ("auto_map", "_name_or_path")}
    config |= {"tie_word_embeddings": False} if untied else {}
    dtype_key = "torch_dtype" if "torch_dtype" in config else "dtype"
    (folder / "config.json").write_text(json.dumps({**config, dtype_key: dtype}, indent=2) + "\n", encoding="utf-8")
