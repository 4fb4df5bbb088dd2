"""File locks that the kernel releases when the holder dies, so no stale lock ever needs removing."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fin_plugins.common.errors import FinError

FILE = ".lock"
"""Name of the file that `exclusive` locks within its folder."""
_POLL_INTERVAL = 0.2  # seconds


class Locked(OSError):
    """Another process holds the lock."""


def lock_descriptor(descriptor: int) -> bool:
    """Try to lock an open file until it is closed. Returns whether the lock was free.

    Raises:
        OSError: the file system does not support locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def try_lock(file: Path) -> int | None:
    """Try to lock a file, which is created if needed.

    Returns:
        A descriptor, or None if another process holds the lock. The lock lasts as long as any process has the
        descriptor open, including children that inherit it.

    Raises:
        OSError: the file cannot be created or opened.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        if not lock_descriptor(descriptor):
            os.close(descriptor)
            return None
        if _is_at(descriptor, file):
            return descriptor
        os.close(descriptor)  # the previous holder removed the file between the two calls


@contextmanager
def blocking(file: Path) -> Iterator[int]:
    """Hold a lock, waiting for it as long as necessary; yields the descriptor."""
    while (descriptor := try_lock(file)) is None:
        time.sleep(_POLL_INTERVAL)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def exclusive_file(file: Path) -> Iterator[None]:
    """Hold a lock without waiting for it; the lock file is removed at the end.

    Raises:
        Locked: another process holds it.
        OSError: the file cannot be created or opened.
    """
    descriptor = try_lock(file)
    if descriptor is None:
        raise Locked(f"{file}: locked by another process")
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink()  # while still locked, so that a waiting process notices
        os.close(descriptor)


@contextmanager
def exclusive(folder: Path, command: str) -> Iterator[None]:
    """Hold the lock of a folder that only one command may work in; the lock file is removed at the end.

    Args:
        folder: created if needed.
        command: name of the command, for example `fin train`, for the error another process gets.

    Raises:
        FinError: another process works in the folder, or the folder cannot be written.
    """
    file = folder / FILE
    try:
        descriptor = try_lock(file)
    except OSError as error:
        raise FinError(
            f"{folder}: cannot be written ({error.strerror}): choose another folder with --out DIR"
        ) from error
    if descriptor is None:
        raise FinError(
            f"{folder}: another `{command}` is running here ({_holder(file)}): wait for it, or choose another folder "
            "with --out DIR"
        )
    try:
        os.truncate(descriptor, 0)
        with suppress(OSError):  # the lock works even if a full disk leaves the file empty
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        with suppress(OSError):
            file.unlink()
        os.close(descriptor)


def _holder(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8") or "just started"
    except OSError:
        return "just ended"


def _is_at(descriptor: int, file: Path) -> bool:
    """Whether the open file is still the one at this path."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
