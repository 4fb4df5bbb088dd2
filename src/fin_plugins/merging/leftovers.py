"""Folders that are written beside their place: each under a lock, so that what a killed run left is told from work."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

WRITING = ".writing"
_RECORD = "merge.json"


def scratch_of(out: Path) -> Path:
    """Where a folder is written before it takes its place."""
    return out.with_name(f".{out.name}{WRITING}")


def old_of(out: Path) -> Path:
    """Where the folder that it replaces stands for a moment."""
    return out.with_name(f".{out.name}.old")


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock of a path; the kernel frees it however the process ends. The lock's file goes at the end.

    Raises:
        Timeout: another process holds it.
        OSError: the lock's file cannot be written.
    """
    lock = path.with_name(f".{path.name.removeprefix('.').removesuffix(WRITING)}.lock")
    with FileLock(lock, timeout=0):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)  # while it is held: a waiting process sees that the file is gone


def clear_merges(folder: Path) -> None:
    """Remove what killed merges left in a folder, and put back what they were about to replace.

    What another process is writing there stays.
    """
    for lock in sorted(folder.glob(".*.lock")):
        out = folder / lock.name.removeprefix(".").removesuffix(".lock")
        scratch, old = scratch_of(out), old_of(out)
        if not (scratch.is_dir() or (old.is_dir() and (out / _RECORD).is_file())):
            continue  # a lock of something else
        with suppress(Timeout, OSError), held(out):
            if old.is_dir() and not out.exists():
                old.replace(out)
            shutil.rmtree(scratch, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def clear_scratch(parent: Path, prefix: str) -> None:
    """Remove the folders of a prefix that no process holds."""
    for left in sorted(parent.glob(f"{prefix}*")):
        with suppress(Timeout, OSError), held(left):
            shutil.rmtree(left, ignore_errors=True)
