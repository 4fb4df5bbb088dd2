"""Disk and memory that a merge needs, estimated before it starts."""

import shutil
from pathlib import Path

from fin_plugins.common.errors import FinError
from fin_plugins.merging.inputs.checkpoint import BYTES, Checkpoint

SHARD_BYTES = 2 << 30
"""Largest file of weights that is written."""

_OTHER_FILES = 64 << 20  # tokenizer, configuration, card
_PROGRAM = 800 << 20  # Python with torch and mergekit
# Copies of one tensor that a method holds at most, beyond one a model: sorting by size takes indices of eight bytes.
_SCRATCH = 6
_TAKEN_OVER = 4


def disk_needed(base: Checkpoint, dtype: str, by_peft: int = 0) -> int:
    """Bytes of the result, and of what is there for a while: each expert in float32 that PEFT has to add."""
    return base.size * (BYTES[dtype] + by_peft * BYTES["float32"]) + _OTHER_FILES


def memory_needed(base: Checkpoint, largest: int, experts: int, dtype: str, by_peft: int = 0) -> int:
    """Bytes in memory at most: a shard twice (as it grows, and as it is written), one tensor of every input.

    Args:
        base: the base model.
        largest: how many numbers the largest tensor holds that an expert changes.
        experts: how many there are.
        dtype: of the result.
        by_peft: how many experts PEFT has to add to the whole base, one after another.
    """
    shard = min(SHARD_BYTES, base.size * BYTES[dtype])
    # Of each input, the tensor and its change of the base; a tensor that nobody changes is taken over.
    tensors = max(largest * (2 * (experts + 1) + _SCRATCH), base.largest * _TAKEN_OVER)
    merging = 2 * shard + tensors * BYTES["float32"]
    return _PROGRAM + max(merging, 2 * base.size * BYTES["float32"] if by_peft else 0)


def check_resources(base: Checkpoint, largest: int, experts: int, dtype: str, out: Path, by_peft: int = 0) -> None:
    """Check that there is room for the merge; the arguments are those of `memory_needed`, and the result's folder.

    Raises:
        FinError: there is not.
    """
    needed, free = disk_needed(base, dtype, by_peft), shutil.disk_usage(_there(out)).free
    if needed > free:
        raise FinError(
            f"--out {out}: {_gb(free)} are free there, and the result takes {_gb(needed)}: free some space, name a "
            "folder on another disk, or a smaller --dtype"
        )
    needed, memory = memory_needed(base, largest, experts, dtype, by_peft), available_memory()
    if memory is not None and needed > memory:
        raise FinError(
            f"{_gb(memory)} of memory are free, and this merge takes {_gb(needed)} (two shards of the result and one "
            "tensor of every input; the whole model for an adapter that is no plain LoRA): end other programs, or "
            "merge fewer experts at once"
        )


def available_memory() -> int | None:
    """Bytes that can be had now, within the container's limit; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
    limit, used = (_number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    within = limit - used if limit is not None and used is not None else None
    return min((room for room in (found, within) if room is not None), default=None)


def _number(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _there(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(part for part in (folder.absolute(), *folder.absolute().parents) if part.exists())


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
