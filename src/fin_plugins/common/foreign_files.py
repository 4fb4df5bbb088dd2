"""Safe reading of untrusted files: regular files only, limited size, limited JSON depth, a single error class.

A path may lead to a pipe without a writer, an endless device, a link loop or a gigabyte of data. The file is opened
first, without blocking, and the checks look at the open file, so that it cannot be exchanged in between.
"""

import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

from fin_plugins.common.errors import FinError

MAX_BYTES = 16 << 20
"""Default size limit, ample for the configuration of a model or adapter."""
MAX_DEPTH = 100


class UnreadableFile(FinError):
    """A file cannot be used; the message is its path and the reason.

    Attributes:
        path: the file.
        reason: what is wrong, without the path.
    """

    def __init__(self, path: Path | str, reason: str) -> None:
        """Build the message from path and reason."""
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = Path(path), reason


def open_file(path: Path) -> BinaryIO:
    """Open a regular file, or a link to one, for reading bytes; never blocks on a pipe or device.

    Raises:
        UnreadableFile: it does not exist, cannot be opened, or is not a regular file.
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
        limit: maximum size in bytes; never more than one byte beyond it is read.

    Raises:
        UnreadableFile: it cannot be read, is not a regular file, or is larger than the limit.
    """
    with open_file(path) as file:
        try:
            content = b"" if os.fstat(file.fileno()).st_size > limit else file.read(limit + 1)
        except OSError as error:
            raise UnreadableFile(path, f"cannot be read ({error.strerror})") from error
        if os.fstat(file.fileno()).st_size > limit or len(content) > limit:
            raise UnreadableFile(path, f"larger than {_size(limit)}, the limit for such files")
    return content


def read_text(path: Path, limit: int = MAX_BYTES) -> str:
    """The text of a regular UTF-8 file, with or without byte order mark; line ends are kept.

    Args:
        path: the file.
        limit: maximum size in bytes.

    Raises:
        UnreadableFile: it cannot be read, is not a regular file, exceeds the limit, or is not UTF-8.
    """
    return _decoded(read_bytes(path, limit), path)


def read_json(path: Path, limit: int = MAX_BYTES, *, depth: int = MAX_DEPTH, replace_surrogates: bool = False) -> Any:
    """The JSON value in a regular file.

    Args:
        path: the file.
        limit: maximum size in bytes.
        depth: maximum nesting of lists and mappings.
        replace_surrogates: replace lone surrogates by U+FFFD instead of refusing them.

    Raises:
        UnreadableFile: it cannot be read, is not a regular file, exceeds a limit, or is invalid JSON.
    """
    return parse_json(read_bytes(path, limit), path, depth=depth, replace_surrogates=replace_surrogates)


def parse_json(content: bytes, path: Path | str, *, depth: int = MAX_DEPTH, replace_surrogates: bool = False) -> Any:
    """The JSON value in bytes, for example one line of a file.

    Args:
        content: UTF-8.
        path: source of the bytes, for errors.
        depth: maximum nesting of lists and mappings.
        replace_surrogates: as for `read_json`.

    Raises:
        UnreadableFile: it is invalid JSON, not UTF-8, or too deeply nested.
    """
    text = _decoded(content, path)
    too_deep = UnreadableFile(path, f"nested deeper than {depth} levels")
    try:
        value = json.loads(text)
    except RecursionError:
        raise too_deep from None
    except ValueError as error:
        raise UnreadableFile(path, f"invalid JSON ({error})") from error
    if text.count("[") + text.count("{") > depth and _exceeds_depth(value, depth):
        raise too_deep
    if "\\ud" in text.lower():
        return _without_surrogates(value, path, replace_surrogates)
    return value


def get_in(data: Any, *key: str | int) -> Any:
    """The value at a path of keys; None if a key is missing or its parent is not a mapping."""
    for part in key:
        data = data.get(part) if isinstance(data, dict) else None
    return data


def _decoded(content: bytes, path: Path | str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableFile(path, f"not UTF-8 (byte {error.start + 1:,})") from error


def _exceeds_depth(value: Any, depth: int) -> bool:
    """Whether a value is nested deeper, counted level by level (without recursion)."""
    level = [value] if isinstance(value, dict | list) else []
    while level and depth >= 0:
        below = (node.values() if isinstance(node, dict) else node for node in level)
        level = [child for children in below for child in children if isinstance(child, dict | list)]
        depth -= 1
    return depth < 0


def _without_surrogates(value: Any, path: Path | str, replace: bool) -> Any:
    if isinstance(value, str):
        text = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if text != value and not replace:
            raise UnreadableFile(path, "lone surrogate (an escape such as \\ud800 alone)")
        return text
    if isinstance(value, list):
        return [_without_surrogates(item, path, replace) for item in value]
    if isinstance(value, dict):
        return {
            _without_surrogates(key, path, replace): _without_surrogates(item, path, replace)
            for key, item in value.items()
        }
    return value


def _kind(mode: int) -> str:
    kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    return next((name for test, name in kinds.items() if test(mode)), "a device")


def _size(limit: int) -> str:
    return f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit:,} bytes"
