"""Files of one JSON object a line: read line by line, each of limited length, so that none can fill the memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fin_plugins.board.reading.values import Unusable
from fin_plugins.common.foreign_files import UnreadableFile, open_file, parse_json

MAX_LINE = 32 << 20
"""Bytes of a line: a long prompt, which lm-eval writes once a label, for hundreds of labels."""
MAX_FILE = 16 << 30
"""Bytes of a file: hundreds of thousands of long lines."""


def objects(file: Path, *, longest: int = MAX_LINE, most: int = MAX_FILE) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects with the numbers of their lines, from 1; blank lines are passed over.

    Args:
        file: to read.
        longest: bytes that a line may have at most.
        most: bytes that the file may have at most.

    Raises:
        Unusable: it is no regular file, cannot be read, is larger, or a line is longer, cut off, or no object.
    """
    for number, line in _lines(file, longest, most):
        if line.strip():
            yield number, _object(line, number)


def _lines(file: Path, longest: int, most: int) -> Iterator[tuple[int, bytes]]:
    number = total = 0
    try:
        with open_file(file) as stream:
            while line := stream.readline(longest + 1):
                number, total = number + 1, total + len(line)
                if len(line) > longest:
                    raise Unusable(f"line {number} is longer than {longest:,} bytes, the most that is read of one")
                if total > most:
                    raise Unusable(f"it is larger than {most:,} bytes, the most that is read of such a file")
                yield number, line
    except UnreadableFile as error:
        raise Unusable(error.reason) from error
    except OSError as error:
        raise Unusable(f"cannot be read ({error.strerror})") from error


def _object(line: bytes, number: int) -> dict[str, Any]:
    try:
        value = parse_json(line, f"line {number}", replace_surrogates=True)
    except UnreadableFile as error:
        cut = "is cut off, as by a killed run" if not line.endswith(b"\n") else f"cannot be used: {error.reason}"
        raise Unusable(f"line {number} {cut}") from error
    if not isinstance(value, dict):
        raise Unusable(f"line {number} is not an object")
    return value
