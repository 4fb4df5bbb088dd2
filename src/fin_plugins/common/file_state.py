"""Detection of file changes without reading the file.

A file's times are trusted only on file systems whose kernel driver sets them at every change. A write through a memory
map sets them when a clean page becomes dirty, not at further writes to that page. So dirty pages are flushed first,
which makes the next write set the times again. File systems in memory never flush and others are untested: their files
have no state here and are read every time.
"""

import ctypes
import os
import sys
from pathlib import Path

# `f_type` of statfs(2): ext4, xfs, btrfs, overlay, NFS (whose stat flushes).
_RELIABLE_TIMES = frozenset({0xEF53, 0x58465342, 0x9123683E, 0x794C7630, 0x6969})


def file_state(file: Path) -> dict[str, int] | None:
    """Size, times (ns) and inode of a regular file, after a flush; None if they would not reveal every change.

    Unlike the modification time, the change time cannot be set back by hand.

    Raises:
        OSError: the file cannot be opened.
    """
    descriptor = os.open(file, os.O_RDONLY)
    try:
        if _file_system(descriptor) not in _RELIABLE_TIMES:
            return None
        os.fsync(descriptor)
        stat = os.fstat(descriptor)
    except OSError:  # flush not supported
        return None
    finally:
        os.close(descriptor)
    return {"size": stat.st_size, "mtime": stat.st_mtime_ns, "ctime": stat.st_ctime_ns, "inode": stat.st_ino}


def _file_system(descriptor: int) -> int | None:
    """The kernel's number of the file system type; None on systems other than Linux."""
    if sys.platform != "linux":
        return None
    buffer = (ctypes.c_long * 64)()  # larger than `struct statfs`, whose first field is the type
    return buffer[0] & 0xFFFFFFFF if ctypes.CDLL(None).fstatfs(descriptor, buffer) == 0 else None
