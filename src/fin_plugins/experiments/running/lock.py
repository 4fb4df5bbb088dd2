"""Locks that the kernel frees: whatever happened to who held one, nothing is left to be cleared away."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fin_plugins.errors import FinError

_EVERY = 0.2  # seconds between two looks at a lock that another holds


def take(file: Path) -> int | None:
    """Lock a file.

    Returns:
        A descriptor: the lock holds as long as any process, a child that inherits it included, has it open. None where
        another holds it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def waited_for(file: Path) -> Iterator[int]:
    """Hold a lock, however long another holds it before; yields the descriptor."""
    while (descriptor := take(file)) is None:
        time.sleep(_EVERY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def alone(work: Path) -> Iterator[None]:
    """Be the only `fin run` on a work folder.

    Raises:
        FinError: another one is at work there, or the folder cannot be written.
    """
    file = work / ".lock"
    try:
        descriptor = take(file)
    except OSError as error:
        raise FinError(f"{work}: cannot be written ({error.strerror}): name another folder, --out DIR") from error
    if descriptor is None:
        who = file.read_text(encoding="utf-8") or "a moment old"
        raise FinError(f"{work}: another `fin run` works there ({who}): wait for it, or name another folder, --out DIR")
    try:
        os.truncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        os.close(descriptor)
