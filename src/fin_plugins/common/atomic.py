"""Atomic writes of files and folders, and removal of what killed runs left unfinished.

A file or folder is written under a temporary name next to its final path, then renamed. Until then it is locked. The
kernel releases the lock of a process that dies, so an unfinished file without a lock can be removed, and one with a
lock is never touched, however old it is.
"""

import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from fin_plugins.common.file_lock import exclusive_file, lock_descriptor

_UNFINISHED_FILE = re.compile(r"\..+\.[0-9a-f]{12,32}\.part", re.DOTALL)
_UNFINISHED_FOLDER = ".writing"
_REPLACED_FOLDER = ".old"


def write_file(file: Path, content: bytes | str | Callable[[Path], object]) -> None:
    """Write a file atomically; create its folder if needed.

    Args:
        file: the file.
        content: bytes, text (written as UTF-8), or a function that writes to the path passed to it.

    Raises:
        OSError: the file cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with unfinished_file(file) as part:
        if callable(content):
            content(part)
        else:
            part.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def unfinished_file(file: Path) -> Iterator[Path]:
    """Yield a new empty file that replaces `file` when the block ends, or is removed if the block raises.

    Yields:
        Path to open and write.

    Raises:
        OSError: the file cannot be written.
    """
    while True:
        part = file.with_name(f".{file.name}.{uuid.uuid4().hex[:12]}.part")
        with part.open("xb") as stream:
            try:
                with suppress(OSError):  # a file system without locks
                    lock_descriptor(stream.fileno())
                if os.fstat(
                    stream.fileno()
                ).st_nlink:  # otherwise another process removed it as a leftover before it was locked
                    yield part
                    os.fsync(stream.fileno())
                    part.replace(file)
                    return
            finally:
                with suppress(OSError):
                    part.unlink(missing_ok=True)


def remove_unfinished_files(folder: Path) -> None:
    """Remove unfinished files of killed runs from a folder; keep those of running processes."""
    for part in folder.glob(".*.part"):
        if not _UNFINISHED_FILE.fullmatch(part.name) or not part.is_file():
            continue
        with suppress(OSError), part.open("rb") as stream:
            if lock_descriptor(stream.fileno()):
                part.unlink()


@contextmanager
def unfinished_folder(folder: Path) -> Iterator[Path]:
    """Yield a new empty folder that replaces `folder` when the block ends, or is removed if the block raises.

    Leftovers of a killed run are removed first. An old folder is removed after the new one is in place.

    Yields:
        Path of the new folder. At the end its files get permissions according to the umask.

    Raises:
        Locked: another process is writing the folder.
        OSError: the folder cannot be written.
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
    """Remove unfinished folders of killed runs from `parent`, and restore folders they were about to replace.

    Folders that another process is writing are kept.

    Args:
        parent: the folder to clean up.
        record: name of a file that every complete folder of this kind contains.
    """
    for lock in sorted(parent.glob(".*.lock")):
        folder = parent / lock.name.removeprefix(".").removesuffix(".lock")
        unfinished, old = unfinished_path(folder), _replaced_path(folder)
        if not (unfinished.is_dir() or (old.is_dir() and (folder / record).is_file())):
            continue  # the lock belongs to something else
        with suppress(OSError), exclusive_path(folder):
            if old.is_dir() and not folder.exists():
                old.replace(folder)
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def remove_scratch_folders(parent: Path, prefix: str) -> None:
    """Remove folders with this prefix whose `exclusive_path` lock no process holds."""
    for left in sorted(parent.glob(f"{prefix}*")):
        with suppress(OSError), exclusive_path(left):
            shutil.rmtree(left, ignore_errors=True)


def exclusive_path(path: Path) -> AbstractContextManager[None]:
    """Hold the lock of a path that is or will be a folder: a hidden file next to it, removed at the end.

    Raises:
        Locked: another process holds it.
        OSError: the lock file cannot be written.
    """
    name = path.name.removeprefix(".").removesuffix(_UNFINISHED_FOLDER)
    return exclusive_file(path.with_name(f".{name}.lock"))


def unfinished_path(folder: Path) -> Path:
    """Temporary path under which a folder is written."""
    return folder.with_name(f".{folder.name}{_UNFINISHED_FOLDER}")


def apply_umask(folder: Path) -> None:
    """Give the files of a folder the permissions of newly created files: safetensors writes files only we can read.

    Raises:
        OSError: the folder cannot be written.
    """
    probe = folder / ".mode"
    probe.touch()  # the umask itself can only be read by changing it
    mode = probe.stat().st_mode & 0o777
    probe.unlink()
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            file.chmod(mode)


def _replaced_path(folder: Path) -> Path:
    """Temporary path of the folder being replaced."""
    return folder.with_name(f".{folder.name}{_REPLACED_FOLDER}")


def _replace(folder: Path, new: Path) -> None:
    old = _replaced_path(folder)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.replace(old)
    new.replace(folder)
    shutil.rmtree(old, ignore_errors=True)
