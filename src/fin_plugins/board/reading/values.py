"""Getting plain values out of JSON that somebody else wrote, with messages for people."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from fin_plugins.common.foreign_files import UnreadableFile, read_json

MAX_RESULT = 64 << 20
"""Bytes of a result file or a list of some: lm-eval's own of hundreds of tasks have a few million."""
MAX_LABELS = 1000
"""Labels of a task: what the board keeps of a model and a task grows with their square."""
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


class Unusable(Exception):
    """A file or a part of it cannot be used; the message says why, and is shown behind the file's name.

    Attributes:
        is_error: whether two figures contradict each other (and not just something is missing or cut off).
    """

    def __init__(self, message: str, *, is_error: bool = False) -> None:
        super().__init__(message)
        self.is_error = is_error


class NoLabels(Exception):
    """The samples are whole, but gold label and answer cannot be told from them; the message is for the reader.

    Attributes:
        rows: hash over the documents, where they were read.
        prompts: hash over all prompts, likewise.
    """

    def __init__(self, message: str, rows: str = "", prompts: str = "") -> None:
        super().__init__(message)
        self.rows, self.prompts = rows, prompts


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object in a result file.

    Raises:
        Unusable: it cannot be read, is no JSON (cut off by a killed run, perhaps), or no object.
    """
    try:
        return mapping(read_json(file, MAX_RESULT, replace_surrogates=True), "the file")
    except UnreadableFile as error:
        raise Unusable(
            f"{error.reason}: from a killed run, or no result file (score again, or take it away)"
        ) from error


def mapping(value: Any, what: str) -> dict[str, Any]:
    """The value, which must be a JSON object.

    Raises:
        Unusable: it is something else.
    """
    if not isinstance(value, dict):
        raise Unusable(f"{what} is {'missing' if value is None else 'not an object'}")
    return value


def whole(value: Any) -> int | None:
    """The value as a whole number, None where it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value == int(value) else None
    return value if isinstance(value, int) else None


def finite(value: Any) -> float | None:
    """The value as a finite number, None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def rows_hash(hashes: Iterable[str], labels: Iterable[str]) -> str:
    """Hash over documents, whatever their order, and the label set."""
    return sha256("\n".join([*sorted(hashes), *labels]).encode()).hexdigest()[:16]


def digest(value: Any) -> str:
    """A short hash of a JSON value; addresses of functions, new in every run, are left out."""
    text = json.dumps(value, sort_keys=True, default=str)
    return sha256(_ADDRESS.sub("", text).encode()).hexdigest()[:16]


def texts(value: Any) -> tuple[str, ...] | None:
    """A list of texts, None where it is none."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        return None
    return tuple(value)


def without_empty(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that say something: older versions leave a field out where newer ones write null or an empty one."""
    return {name: value for name, value in settings.items() if value not in (None, "", [], {})}
