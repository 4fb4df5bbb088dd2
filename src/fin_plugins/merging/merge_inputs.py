"""The inputs of a merge, checked before any work: base and experts, and the required disk space and memory."""

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fin_plugins.common.errors import FinError, first_line
from fin_plugins.common.formatting import size
from fin_plugins.evaluation.base_model import base_layers, check_base, header_shapes
from fin_plugins.merging.adapter_files import PREFIX, read_adapter_factors
from fin_plugins.merging.checkpoints import (
    DTYPE_BYTES,
    Checkpoint,
    architecture_differences,
    check_vocabulary,
    read_checkpoint,
)
from fin_plugins.merging.peft_merge import SHARD_BYTES, needs_peft
from fin_plugins.merging.recipes.recipe_model import Expert, MergeModels
from fin_plugins.scoring.adapters import CONFIG, WEIGHTS, read_adapter

_OTHER_FILES = 64 << 20  # tokenizer, configuration, model card
_PROCESS = 800 << 20  # Python with torch and mergekit
# Copies of a tensor that a method holds besides one per model; sorting by size takes indices of eight bytes.
_WORKING_COPIES = 6
_UNCHANGED_COPIES = 4  # copies of a tensor that no expert changes


@dataclass(frozen=True)
class MergeInputs:
    """The checked inputs of a merge.

    Attributes:
        base: the base model.
        models: base and experts.
    """

    base: Checkpoint
    models: MergeModels

    @property
    def largest_changed(self) -> int:
        """Number of elements of the largest tensor that an expert may change; reads headers only."""
        sizes = {name: tensor.size for name, tensor in self.base.tensors.items()}
        largest = max(sizes.values())
        if not all(expert.is_adapter for expert in self.models.experts):
            return largest
        names = {name for expert in self.models.experts for name in header_shapes(expert.path / WEIGHTS)}
        changed = {f"{name.partition('.lora_')[0].removeprefix(PREFIX)}.weight" for name in names if ".lora_" in name}
        # An output layer tied to the embeddings has no separate tensor, and is as large as the largest.
        return max((sizes.get(name, largest) for name in changed), default=largest)


def read_merge_inputs(base: str, experts: Sequence[str], *, any_base: bool = False) -> MergeInputs:
    """Read and check base and experts.

    Args:
        base: folder or hub name of the base model.
        experts: values of `--expert`: `NAME=PATH`.
        any_base: accept adapters that were trained on another model than the base.

    Raises:
        FinError: everything that is wrong with them.
    """
    folder = _base_folder(base)
    checkpoint = read_checkpoint("base", folder)
    layers = _count_layers(folder)
    problems: list[str] = []
    parsed: list[Expert] = []
    for flag in experts:
        try:
            expert = _parse_expert(flag, parsed)
            parsed.append(expert)
            problems += _expert_problems(expert, checkpoint, base, any_base)
        except FinError as error:
            problems.append(str(error))
    for path in (folder, *(expert.path for expert in parsed)):
        if {*"+@"} & {*str(path)}:
            problems.append(f"{path}: mergekit splits paths at + and @: give a link to it that has neither")
    if problems:
        raise FinError(problems[0] if len(problems) == 1 else "\n".join([f"{len(problems)} problems", *problems]))
    return MergeInputs(checkpoint, MergeModels(folder, base, layers, checkpoint.dtype, tuple(parsed)))


def _base_folder(base: str) -> Path:
    from fin_plugins.evaluation.cache_key import base_folder
    from fin_plugins.training.trained_model import model_path

    try:
        folder = base_folder({"pretrained": model_path(base)})
    except FinError as error:
        raise FinError(str(error).replace("pretrained=", "--base ", 1)) from error
    if not folder.is_dir():
        raise FinError(f"--base {base}: is a file: give the folder of a model")
    return folder


def _count_layers(folder: Path) -> int:
    from transformers import AutoConfig

    try:
        config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        return int(config.get_text_config().num_hidden_layers)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise FinError(f"base: {folder}: transformers cannot read its configuration ({first_line(error)})") from error


def _parse_expert(flag: str, others: Sequence[Expert]) -> Expert:
    name, equals, path = flag.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z0-9._-]+", name) or not path:
        raise FinError(f"--expert {flag}: should be NAME=PATH, with NAME of letters, digits, '.', '_' and '-'")
    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        raise FinError(f"expert {name}: {path} is not a folder (download a model from a hub first)")
    for other in others:
        if other.name == name or other.path.resolve() == folder.resolve():
            repeated = "name" if other.name == name else f"folder as expert {other.name}"
            raise FinError(f"--expert {flag}: the same {repeated}: give each expert once")
    return Expert(name, folder, is_adapter=(folder / CONFIG).is_file())


def _expert_problems(expert: Expert, base: Checkpoint, base_name: str, any_base: bool) -> Iterator[str]:
    """What keeps the expert from being merged with the base."""
    label = f"expert {expert.name}"
    try:
        if expert.is_adapter:
            check_base(read_adapter(expert.name, expert.path), base_name, base.folder, any_base)
            if not needs_peft(expert):
                read_adapter_factors(expert.name, expert.path, base_layers(base.folder))
        else:
            yield from architecture_differences(label, read_checkpoint(label, expert.path), base)
    except FinError as error:
        yield str(error).replace("pretrained=", "--base ")
    try:
        check_vocabulary(label, expert.path, base.folder)
    except FinError as error:
        yield str(error)


def required_disk(base: Checkpoint, dtype: str, peft_experts: int = 0) -> int:
    """Bytes of the result and of temporary files: a float32 checkpoint for each expert that PEFT must merge."""
    return base.size * (DTYPE_BYTES[dtype] + peft_experts * DTYPE_BYTES["float32"]) + _OTHER_FILES


def required_memory(base: Checkpoint, largest: int, experts: int, dtype: str, peft_experts: int = 0) -> int:
    """Peak memory in bytes: a shard twice (in memory and while it is written), and one tensor of every input.

    Args:
        base: the base model.
        largest: number of elements of the largest tensor that an expert changes.
        experts: number of experts.
        dtype: type of the result.
        peft_experts: number of experts that PEFT must merge into the entire base, one after another.
    """
    shard = min(SHARD_BYTES, base.size * DTYPE_BYTES[dtype])
    # Of each input, the tensor and its difference from the base.
    elements = max(largest * (2 * (experts + 1) + _WORKING_COPIES), base.largest_tensor * _UNCHANGED_COPIES)
    merging = 2 * shard + elements * DTYPE_BYTES["float32"]
    return _PROCESS + max(merging, 2 * base.size * DTYPE_BYTES["float32"] if peft_experts else 0)


def check_resources(
    base: Checkpoint, largest: int, experts: int, dtype: str, folder: Path, peft_experts: int = 0
) -> None:
    """Check that there is enough disk space and memory for a merge into a checkpoint in a folder.

    The other arguments are those of `required_memory`.

    Raises:
        FinError: there is not enough.
    """
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    disk, free = required_disk(base, dtype, peft_experts), shutil.disk_usage(existing).free
    if disk > free:
        raise FinError(
            f"--out {folder}: the result takes {size(disk)}, and {size(free)} are free: free some space, give a folder "
            "on another disk, or a smaller --dtype"
        )
    memory, available = required_memory(base, largest, experts, dtype, peft_experts), available_memory()
    if available is not None and memory > available:
        raise FinError(
            f"this merge takes {size(memory)} of memory, and {size(available)} are free (it holds two shards of the "
            "result and one tensor of every input, and the entire model for an adapter that is not a plain LoRA): end "
            "other programs, or merge fewer experts at once"
        )


def available_memory() -> int | None:
    """Bytes of free memory within the container's limit; None if the system does not report it."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    machine = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
    limit, used = (_read_number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    container = limit - used if limit is not None and used is not None else None
    return min((free for free in (machine, container) if free is not None), default=None)


def _read_number(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
