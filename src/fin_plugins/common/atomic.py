"""Atomic writes: what stands under a final name is whole, and what a killed run left is recognised and removed.

A file or folder is written under a temporary name beside its place and renamed. It is locked until then, and the kernel
frees the lock of a process that dies: an unfinished file without a lock is nobody's, and one with a lock is never
touched, however old it is.
"""

import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from fin_plugins.common.file_lock import exclusive_file, lock_descriptor
from fin_plugins.common.permissions import apply_umask

_UNFINISHED_FILE = re.compile(r"\..+\.[0-9a-f]{12,32}\.part", re.DOTALL)
_UNFINISHED_FOLDER = ".writing"
_REPLACED_FOLDER = ".old"


def write_file(file: Path, content: bytes | str | Callable[[Path], object]) -> None:
    """Write a file whole or not at all; its folder is made.

    Args:
        file: the file.
        content: bytes, text (for UTF-8), or what writes them to the path that it is given.

    Raises:
        OSError: it cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with unfinished_file(file) as part:
        if callable(content):
            content(part)
        else:
            part.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def unfinished_file(file: Path) -> Iterator[Path]:
    """A new empty file beside `file`, which it replaces at the end; where the block raises, it is removed.

    Yields:
        Its path, to be opened and written.

    Raises:
        OSError: it cannot be written.
    """
    while True:
        part = file.with_name(f".{file.name}.{uuid.uuid4().hex[:12]}.part")
        with part.open("xb") as stream:
            try:
                with suppress(OSError):  # a file system without locks
                    lock_descriptor(stream.fileno())
                if os.fstat(stream.fileno()).st_nlink:  # or it was taken for a leftover before it was locked
                    yield part
                    os.fsync(stream.fileno())
                    part.replace(file)
                    return
            finally:
                with suppress(OSError):
                    part.unlink(missing_ok=True)


def remove_unfinished_files(folder: Path) -> None:
    """Remove the unfinished files that killed runs left in a folder; those of a run that goes on stay."""
    for part in folder.glob(".*.part"):
        if not _UNFINISHED_FILE.fullmatch(part.name) or not part.is_file():
            continue
        with suppress(OSError), part.open("rb") as stream:
            if lock_descriptor(stream.fileno()):
                part.unlink()


@contextmanager
def unfinished_folder(folder: Path) -> Iterator[Path]:
    """A new empty folder beside `folder`, which it replaces at the end; where the block raises, it is removed.

    What a killed run left of it is removed first. The old folder, if any, goes when the new one is there.

    Yields:
        Its path. Permissions of what is written there are set by the umask at the end.

    Raises:
        Locked: another process writes it.
        OSError: it cannot be written.
    """
    unfinished = unfinished_path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with exclusive_path(folder):
        try:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            yield unfinished
            apply_umask(unfinished)
            _replace(folder, unfinished)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def remove_unfinished_folders(parent: Path, record: str) -> None:
    """Remove what killed runs left of the folders in `parent`, and put back what they were about to replace.

    What another process is writing there stays.

    Args:
        parent: the folder that they lie in.
        record: a file that stands in each whole folder of the kind.
    """
    for lock in sorted(parent.glob(".*.lock")):
        folder = parent / lock.name.removeprefix(".").removesuffix(".lock")
        unfinished, old = unfinished_path(folder), _replaced_path(folder)
        if not (unfinished.is_dir() or (old.is_dir() and (folder / record).is_file())):
            continue  # a lock of something else
        with suppress(OSError), exclusive_path(folder):
            if old.is_dir() and not folder.exists():
                old.replace(folder)
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def remove_scratch_folders(parent: Path, prefix: str) -> None:
    """Remove the folders of a prefix whose `exclusive_path` no process holds."""
    for left in sorted(parent.glob(f"{prefix}*")):
        with suppress(OSError), exclusive_path(left):
            shutil.rmtree(left, ignore_errors=True)


def exclusive_path(path: Path) -> AbstractContextManager[None]:
    """Hold the lock of a path that is or will be a folder: a hidden file beside it, removed at the end.

    Raises:
        Locked: another process holds it.
        OSError: the lock's file cannot be written.
    """
    name = path.name.removeprefix(".").removesuffix(_UNFINISHED_FOLDER)
    return exclusive_file(path.with_name(f".{name}.lock"))


def unfinished_path(folder: Path) -> Path:
    """Where a folder is written before it takes its place."""
    return folder.with_name(f".{folder.name}{_UNFINISHED_FOLDER}")


def _replaced_path(folder: Path) -> Path:
    """Where the folder that is replaced stands for a moment."""
    return folder.with_name(f".{folder.name}{_REPLACED_FOLDER}")


def _replace(folder: Path, new: Path) -> None:
    old = _replaced_path(folder)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.replace(old)
    new.replace(folder)
    shutil.rmtree(old, ignore_errors=True)
