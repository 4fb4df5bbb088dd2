"""Errors of a full memory or a full disk, turned into advice."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fin_plugins.common.errors import FinError, first_line
from fin_plugins.training.train_config import TrainConfig

if TYPE_CHECKING:
    import torch

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DISK_FULL_MESSAGES = (
    *(f"(os error {number})" for number in _DISK_FULL),  # safetensors
    *map(os.strerror, _DISK_FULL),
    *("PytorchStreamWriter", "unexpected pos", "iostream error"),  # PyTorch, which gives no reason
)
_BYTES_PER_WEIGHT = 12  # in a checkpoint: the trained weight and Adam's two moments, in float32


@contextmanager
def explain_out_of_memory(config: TrainConfig) -> Iterator[None]:
    """Turn an out-of-memory error into advice.

    Raises:
        FinError: in place of the error; other errors pass.
    """
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise FinError(_memory_advice(config, error)) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error) and "not enough memory" not in str(error):
            raise
        raise FinError(_memory_advice(config, error)) from error


@contextmanager
def explain_full_disk(folder: Path, required: Callable[[], int]) -> Iterator[None]:
    """Turn the error of a full disk into advice.

    Args:
        folder: the folder written to.
        required: gives the approximate bytes written there at once.

    Raises:
        FinError: in place of the error; other errors pass.
    """
    try:
        yield
    except FinError:
        raise
    except Exception as error:
        if not _is_disk_full(error):
            raise
        raise FinError(
            f"{_newest_file(folder)}: the disk is full: {_format_size(shutil.disk_usage(folder).free)} free, about "
            f"{_format_size(required())} needed: make room, and the same command resumes from the last checkpoint; or "
            "move the folder to another disk and name it with --out"
        ) from error


def checkpoints_bytes(model: "torch.nn.Module") -> int:
    """Size of a run's checkpoints: the best, the last, and the one being written."""
    weights = sum(int(weight.numel()) for weight in model.parameters() if weight.requires_grad)
    return 3 * _BYTES_PER_WEIGHT * weights


def _memory_advice(config: TrainConfig, error: BaseException) -> str:
    remedies = [
        f"halve batch_size (now {config.batch_size}) and double gradient_accumulation (now "
        f"{config.gradient_accumulation}), which does not change the result"
    ]
    if not config.gradient_checkpointing:
        remedies.append("gradient_checkpointing: true")
    remedies.append(f"a lower max_length (now {config.max_length})")
    if config.method == "full":
        remedies.append("method: lora")
    return (
        f"out of memory ({first_line(error)}): {'; '.join(remedies)}. The same command resumes from the last checkpoint"
    )


def _is_disk_full(error: BaseException | None) -> bool:
    if error is None:
        return False
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return True
    return any(text in str(error) for text in _DISK_FULL_MESSAGES) or _is_disk_full(
        error.__cause__ or error.__context__
    )


def _newest_file(folder: Path) -> Path:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return max(files, key=lambda file: file.stat().st_mtime_ns, default=folder)


def _format_size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
