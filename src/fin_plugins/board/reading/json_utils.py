"""Reading JSON files written by others: typed values, limits on size, and errors for people."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from fin_plugins.common.foreign_files import UnreadableFile, open_file, parse_json, read_json

MAX_RESULT_BYTES = 64 << 20
"""Limit of a result file or manifest. lm-eval writes a few million bytes for hundreds of tasks."""
MAX_LINE_BYTES = 32 << 20
"""Limit of a line: lm-eval repeats a long prompt once per label, for hundreds of labels."""
MAX_LINES_BYTES = 16 << 30
"""Limit of a file of lines: hundreds of thousands of long ones."""
MAX_LABELS = 1000
"""Limit of labels per task: memory per model and task grows with their square."""
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


class UnusableFile(Exception):
    """A file, or a part of it, cannot be used. The message gives the reason and is shown after the file's name.

    Attributes:
        is_error: whether figures contradict each other, rather than something being missing or cut off.
    """

    def __init__(self, message: str, *, is_error: bool = False) -> None:
        super().__init__(message)
        self.is_error = is_error


class UnknownLabels(Exception):
    """Samples are complete but do not reveal gold label and answer. The message is for the reader of the board.

    Attributes:
        rows: hash of the documents, if they were read.
        prompts: hash of all prompts, if they were read.
    """

    def __init__(self, message: str, rows: str = "", prompts: str = "") -> None:
        super().__init__(message)
        self.rows, self.prompts = rows, prompts


def read_json_object(file: Path) -> dict[str, Any]:
    """Read a result file.

    Raises:
        UnusableFile: it cannot be read, is invalid JSON (cut off, perhaps), or not an object.
    """
    try:
        return require_object(read_json(file, MAX_RESULT_BYTES, replace_surrogates=True), "the file")
    except UnreadableFile as error:
        raise UnusableFile(
            f"{error.reason}; either its run was killed, or it is not a result file: evaluate again or remove it"
        ) from error


def iter_json_lines(
    file: Path, *, line_limit: int = MAX_LINE_BYTES, file_limit: int = MAX_LINES_BYTES
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read a file of one JSON object per line, without loading all of it; blank lines are skipped.

    Args:
        file: the file.
        line_limit: bytes allowed per line.
        file_limit: bytes allowed in total.

    Yields:
        Line number, from 1, and object.

    Raises:
        UnusableFile: it is not a regular file, unreadable or too large, or a line is too long, cut off or no object.
    """
    for number, line in _iter_lines(file, line_limit, file_limit):
        if line.strip():
            yield number, _parse_line(line, number)


def _iter_lines(file: Path, line_limit: int, file_limit: int) -> Iterator[tuple[int, bytes]]:
    number = total = 0
    try:
        with open_file(file) as stream:
            while line := stream.readline(line_limit + 1):
                number, total = number + 1, total + len(line)
                if len(line) > line_limit:
                    raise UnusableFile(f"line {number} is longer than the limit of {line_limit:,} bytes")
                if total > file_limit:
                    raise UnusableFile(f"it is larger than the limit of {file_limit:,} bytes")
                yield number, line
    except UnreadableFile as error:
        raise UnusableFile(error.reason) from error
    except OSError as error:
        raise UnusableFile(f"cannot be read ({error.strerror})") from error


def _parse_line(line: bytes, number: int) -> dict[str, Any]:
    try:
        value = parse_json(line, f"line {number}", replace_surrogates=True)
    except UnreadableFile as error:
        is_cut = not line.endswith(b"\n")
        reason = "is cut off, perhaps by a killed run" if is_cut else f"cannot be used: {error.reason}"
        raise UnusableFile(f"line {number} {reason}") from error
    if not isinstance(value, dict):
        raise UnusableFile(f"line {number} is not an object")
    return value


def require_object(value: Any, name: str) -> dict[str, Any]:
    """The value if it is a JSON object.

    Raises:
        UnusableFile: it is missing or something else.
    """
    if not isinstance(value, dict):
        raise UnusableFile(f"{name} is {'missing' if value is None else 'not an object'}")
    return value


def as_int(value: Any) -> int | None:
    """The value as an integer, None if it is not a whole number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value == int(value) else None
    return value if isinstance(value, int) else None


def as_float(value: Any) -> float | None:
    """The value as a finite number, None if it is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def as_strings(value: Any) -> tuple[str, ...] | None:
    """The value as strings, None if it is not a list of strings."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return None
    return tuple(value)


def without_empty(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without empty ones, which older versions of lm-eval omit and newer ones write as null."""
    return {name: value for name, value in settings.items() if value not in (None, "", [], {})}


def hash_rows(hashes: Iterable[str], labels: Iterable[str]) -> str:
    """Hash of a set of documents, in any order, and the label set."""
    return sha256("\n".join([*sorted(hashes), *labels]).encode()).hexdigest()[:16]


def hash_json(value: Any) -> str:
    """Short hash of a JSON value, without memory addresses of functions, which change from run to run."""
    text = json.dumps(value, sort_keys=True, default=str)
    return sha256(_ADDRESS.sub("", text).encode()).hexdigest()[:16]
