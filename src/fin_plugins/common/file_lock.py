"""Locks that the kernel frees: whatever happened to the holder, nothing is left to be cleared away."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fin_plugins.common.errors import FinError

FILE = ".lock"
"""The file that `exclusive` locks, in the folder that it is about."""
_EVERY = 0.2  # seconds between two looks at a lock that another holds


class Locked(OSError):
    """Another process holds the lock."""


def lock_descriptor(descriptor: int) -> bool:
    """Lock an open file without waiting, until it is closed; returns whether nobody else holds it.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def try_lock(file: Path) -> int | None:
    """Lock a file, which is made where it is not there.

    Returns:
        A descriptor: the lock holds as long as any process, a child that inherits it included, has it open. None where
        another holds it.

    Raises:
        OSError: the file cannot be made or opened.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        if not lock_descriptor(descriptor):
            os.close(descriptor)
            return None
        if _is_at(descriptor, file):
            return descriptor
        os.close(descriptor)  # the holder before removed the file between the two calls


@contextmanager
def blocking(file: Path) -> Iterator[int]:
    """Hold a lock, however long another holds it before; yields the descriptor."""
    while (descriptor := try_lock(file)) is None:
        time.sleep(_EVERY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def exclusive_file(file: Path) -> Iterator[None]:
    """Hold a lock without waiting for it; the lock's file is removed at the end.

    Raises:
        Locked: another process holds it.
        OSError: the file cannot be made or opened.
    """
    descriptor = try_lock(file)
    if descriptor is None:
        raise Locked(f"{file}: locked by another process")
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink()  # while it is held: a waiting process sees that the file is gone
        os.close(descriptor)


@contextmanager
def exclusive(folder: Path, command: str) -> Iterator[None]:
    """Be the only one at work in a folder; the lock's file is removed at the end.

    Args:
        folder: made where it is not there.
        command: that works there, as in `fin train`, for the message to another one.

    Raises:
        FinError: another one is at work there, or the folder cannot be written.
    """
    file = folder / FILE
    try:
        descriptor = try_lock(file)
    except OSError as error:
        raise FinError(f"{folder}: cannot be written ({error.strerror}): name another folder, --out DIR") from error
    if descriptor is None:
        raise FinError(
            f"{folder}: another `{command}` works there ({_holder(file)}): wait for it, or name another folder, "
            "--out DIR"
        )
    try:
        os.truncate(descriptor, 0)
        with suppress(OSError):  # on a full disk the lock holds without its note
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        with suppress(OSError):
            file.unlink()
        os.close(descriptor)


def _holder(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8") or "a moment old"
    except OSError:
        return "about to end"


def _is_at(descriptor: int, file: Path) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
