"""What tells that a file is unchanged since it was last read, without reading it again.

A file's times are trusted only where the kernel sets them at every change. A write through a memory map sets them when
a clean page becomes dirty, and not at further writes to that page: so what is dirty is flushed first, after which the
next write is the first one again. A file system in memory never flushes, and what others do is not known: their files
have no state here, and are read every time.
"""

import ctypes
import os
import sys
from pathlib import Path

# `f_type` of statfs(2): ext4, xfs, btrfs, overlay, NFS (whose stat flushes by itself).
_TIMES_KEPT = frozenset({0xEF53, 0x58465342, 0x9123683E, 0x794C7630, 0x6969})


def file_state(file: Path) -> dict[str, int] | None:
    """Size, times (ns) and inode of a regular file, after a flush; None where they would not tell of every change.

    The change time cannot be set back by hand, as the other one can.

    Raises:
        OSError: the file cannot be opened.
    """
    descriptor = os.open(file, os.O_RDONLY)
    try:
        if _file_system(descriptor) not in _TIMES_KEPT:
            return None
        os.fsync(descriptor)
        stat = os.fstat(descriptor)
    except OSError:  # cannot be flushed
        return None
    finally:
        os.close(descriptor)
    return {"size": stat.st_size, "mtime": stat.st_mtime_ns, "ctime": stat.st_ctime_ns, "inode": stat.st_ino}


def _file_system(descriptor: int) -> int | None:
    """The kernel's number for the type of file system; None on other systems than Linux."""
    if sys.platform != "linux":
        return None
    found = (ctypes.c_long * 64)()  # more than `struct statfs` takes; its first field is the type
    return found[0] & 0xFFFFFFFF if ctypes.CDLL(None).fstatfs(descriptor, found) == 0 else None
