"""Files that somebody else wrote: regular files only, of limited size, JSON of limited depth, one error for all of it.

A name in a folder may lead to a pipe that nobody writes to, to a device without end, to itself, or to a gigabyte. The
file is opened first, without waiting, and it is the open file that is looked at: nothing can be exchanged in between.
"""

import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

from fin_plugins.common.errors import FinError

MAX_BYTES = 16 << 20
"""Ample for a configuration of a model or an adapter."""
MAX_DEPTH = 100


class UnreadableFile(FinError):
    """A file cannot be used; the message is its name and the reason.

    Attributes:
        path: of the file.
        reason: what is wrong, without the file's name.
    """

    def __init__(self, path: Path | str, reason: str) -> None:
        """Take the file and the reason."""
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = Path(path), reason


def open_file(path: Path) -> BinaryIO:
    """Open a regular file, or a link to one, for reading bytes; never waits for a pipe or a device.

    Raises:
        UnreadableFile: there is none, it cannot be opened, or it is no regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise UnreadableFile(path, "no such file") from error
    except OSError as error:
        raise UnreadableFile(path, f"cannot be opened ({error.strerror})") from error
    except ValueError as error:  # a NUL in the name
        raise UnreadableFile(path, f"not a file name ({error})") from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise UnreadableFile(path, f"{_kind(mode)}, not a regular file")
    return os.fdopen(descriptor, "rb")


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The content of a regular file.

    Args:
        path: the file.
        limit: bytes that it may have at most; no more than that and one is ever read.

    Raises:
        UnreadableFile: it cannot be read, is no regular file, or is larger.
    """
    with open_file(path) as file:
        try:
            content = b"" if os.fstat(file.fileno()).st_size > limit else file.read(limit + 1)
        except OSError as error:
            raise UnreadableFile(path, f"cannot be read ({error.strerror})") from error
        if os.fstat(file.fileno()).st_size > limit or len(content) > limit:
            raise UnreadableFile(path, f"larger than {_size(limit)}, the most that is read of such a file")
    return content


def read_text(path: Path, limit: int = MAX_BYTES) -> str:
    """The text of a regular file in UTF-8, with or without its mark; line ends stay as they are.

    Args:
        path: the file.
        limit: bytes that it may have at most.

    Raises:
        UnreadableFile: it cannot be read, is no regular file, is larger, or is not UTF-8.
    """
    return _decoded(read_bytes(path, limit), path)


def read_json(path: Path, limit: int = MAX_BYTES, *, depth: int = MAX_DEPTH, mend_halves: bool = False) -> Any:
    """The JSON value in a regular file.

    Args:
        path: the file.
        limit: bytes that it may have at most.
        depth: levels of lists and mappings that it may have at most.
        mend_halves: whether half a surrogate pair (the escape for U+D800 alone) is replaced by U+FFFD, not refused.

    Raises:
        UnreadableFile: it cannot be read, is no regular file, is larger or deeper, or is no JSON.
    """
    return parse_json(read_bytes(path, limit), path, depth=depth, mend_halves=mend_halves)


def parse_json(content: bytes, path: Path | str, *, depth: int = MAX_DEPTH, mend_halves: bool = False) -> Any:
    """The JSON value in bytes, as in a line of a file.

    Args:
        content: UTF-8.
        path: what errors call it.
        depth: levels of lists and mappings that it may have at most.
        mend_halves: as for `read_json`.

    Raises:
        UnreadableFile: it is no JSON, not UTF-8, or deeper.
    """
    text = _decoded(content, path)
    too_deep = UnreadableFile(path, f"nested deeper than {depth} levels")
    try:
        value = json.loads(text)
    except RecursionError:
        raise too_deep from None
    except ValueError as error:
        raise UnreadableFile(path, f"no JSON ({error})") from error
    if text.count("[") + text.count("{") > depth and _deeper(value, depth):
        raise too_deep
    if "\\ud" in text.lower():
        return _without_halves(value, path, mend_halves)
    return value


def get_in(data: Any, *key: str | int) -> Any:
    """The value under a path of keys; None where something on the way is missing or is no mapping."""
    for part in key:
        data = data.get(part) if isinstance(data, dict) else None
    return data


def _decoded(content: bytes, path: Path | str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableFile(path, f"not UTF-8 (byte {error.start + 1:,})") from error


def _deeper(value: Any, depth: int) -> bool:
    """Whether a value has more levels, counted level by level: nothing here calls itself."""
    level = [value] if isinstance(value, dict | list) else []
    while level and depth >= 0:
        below = (one.values() if isinstance(one, dict) else one for one in level)
        level = [child for children in below for child in children if isinstance(child, dict | list)]
        depth -= 1
    return depth < 0


def _without_halves(value: Any, path: Path | str, mend: bool) -> Any:
    if isinstance(value, str):
        whole = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if whole != value and not mend:
            raise UnreadableFile(path, "half a character (an escape such as \\ud800 alone)")
        return whole
    if isinstance(value, list):
        return [_without_halves(one, path, mend) for one in value]
    if isinstance(value, dict):
        return {_without_halves(name, path, mend): _without_halves(one, path, mend) for name, one in value.items()}
    return value


def _kind(mode: int) -> str:
    kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    return next((name for test, name in kinds.items() if test(mode)), "a device")


def _size(limit: int) -> str:
    return f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit:,} bytes"
