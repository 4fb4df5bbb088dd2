"""Running out of disk, in words that help: each library below has its own error for it."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fin_plugins.common.errors import FinError

if TYPE_CHECKING:
    import torch

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TEXTS = (
    *(f"(os error {number})" for number in _FULL),  # safetensors
    *map(os.strerror, _FULL),
    *("PytorchStreamWriter", "unexpected pos", "iostream error"),  # PyTorch, which does not say why it cannot write
)
_BYTES = 12  # of a trained number in a checkpoint: itself and the two that Adam keeps of it, in float32


@contextmanager
def disk_full_in_words(folder: Path, needed: Callable[[], int]) -> Iterator[None]:
    """Turn a full disk into advice.

    Args:
        folder: that is written into.
        needed: tells the bytes of what is written there at once, roughly.

    Raises:
        FinError: in place of that error; all others pass.
    """
    try:
        yield
    except FinError:
        raise
    except Exception as error:
        if not _is_full(error):
            raise
        raise FinError(
            f"{_last_written(folder)}: the disk is full: {_size(shutil.disk_usage(folder).free)} free, and about "
            f"{_size(needed())} needed: make room, and the same command goes on from the last checkpoint; or move the "
            "whole folder to another disk and name it with --output"
        ) from error


def checkpoints_size(model: "torch.nn.Module") -> int:
    """Bytes of a run's checkpoints: the best, the last, and the one that is being written."""
    return 3 * _BYTES * sum(int(weight.numel()) for weight in model.parameters() if weight.requires_grad)


def _is_full(error: BaseException | None) -> bool:
    if error is None:
        return False
    full = isinstance(error, OSError) and error.errno in _FULL
    return full or any(text in str(error) for text in _TEXTS) or _is_full(error.__cause__ or error.__context__)


def _last_written(folder: Path) -> Path:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return max(files, key=lambda file: file.stat().st_mtime_ns, default=folder)


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
