"""Atomic writes: a file appears whole or not at all, and what a killed run left behind goes at the next.

The unfinished file is locked as long as it is written, and the system takes the lock away from a process that dies. So
an unfinished file without a lock is nobody's, and one with a lock is never touched, however old it is.
"""

import fcntl
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{12,32}\.part", re.DOTALL)


def write(file: Path, content: bytes) -> None:
    """Write a file whole or not at all: under a temporary name, flushed, renamed; its folder is made.

    Raises:
        OSError: it cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with _unfinished(file) as (part, stream):
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
        part.replace(file)


def remove_leftovers(folder: Path) -> None:
    """Remove the unfinished files that killed runs left in a folder; those of a run that goes on stay."""
    for part in folder.glob(".*.part"):
        if not _LEFTOVER.fullmatch(part.name) or not part.is_file():
            continue
        with suppress(OSError), part.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink()


@contextmanager
def _unfinished(file: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file beside `file`, open and locked; it is gone in the end, unless it was renamed."""
    while True:
        part = file.with_name(f".{file.name}.{uuid.uuid4().hex[:12]}.part")
        with part.open("xb") as stream:
            try:
                with suppress(OSError):  # a file system without locks
                    fcntl.flock(stream, fcntl.LOCK_EX)
                if os.fstat(stream.fileno()).st_nlink:  # or it was taken for a leftover before it was locked
                    yield part, stream
                    return
            finally:
                part.unlink(missing_ok=True)
