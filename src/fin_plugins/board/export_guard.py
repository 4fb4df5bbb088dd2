"""The last check before an export: no document text, no path of this machine, no name of the home folder."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fin_plugins.common.errors import FinError

# /x, ~/x, C:\x, \\x or file:/x, at the start of a text or of a word in it.
_PATH = re.compile(r"(?:^|[\s\"'=:,;([{<>|@])(?:~[\w.-]*/|/[^\s/]|//|[A-Za-z]:[\\/]|\\\\)")
_MIN_LENGTH = 12  # shorter texts occur in documents by chance
_MIN_SHARED = 24  # consecutive characters that two texts do not share by chance
_HASH = re.compile(r"[0-9a-f.+]{16,}")


@dataclass(frozen=True)
class PrivateText:
    """Text that must not be exported.

    Attributes:
        documents: document texts and replies.
        home: name of the home folder; empty if there is none.
    """

    documents: frozenset[str]
    home: str

    @cached_property
    def all_documents(self) -> str:
        """All documents in one string, for fast searches."""
        return "\0".join(sorted(self.documents))


def home_name() -> str:
    """Name of the home folder, usually that of a person."""
    try:
        return Path.home().name
    except RuntimeError:
        return ""


def check_exportable(value: Any, private: PrivateText, words: Iterable[str], file: str) -> None:
    """Check every text in a JSON value.

    Args:
        value: what is to be exported.
        private: what must not be in it.
        words: texts that may be anything but a path.
        file: the file, for the message.

    Raises:
        FinError: a text must not be exported.
    """
    allowed, field_names = frozenset(words), frozenset(_field_names(value))
    for text in sorted(set(_texts(value))):
        fault = "which looks like a path of this machine" if _PATH.search(text) else ""
        if not fault and text not in allowed:
            fault = _home_fault(text, private.home)
            if not fault and text not in field_names:
                fault = _document_fault(text, private)
        if fault:
            raise FinError(
                f"{file}: would contain {text[:60]!r}, {fault}: nothing of it was written; "
                "choose another display name for the model, or change the task's labels or version"
            )


def _field_names(value: Any) -> Iterator[str]:
    """One-word field names: a model may reply `data`, which reveals nothing."""
    if isinstance(value, dict):
        yield from (name for name in value if name.isidentifier())
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _field_names(item)


def _texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value, names included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _texts(name)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _home_fault(text: str, home: str) -> str:
    is_named = home and re.search(rf"(?<![^\W_]){re.escape(home)}(?![^\W_])", text, re.IGNORECASE)
    return "which contains the name of the home folder" if is_named else ""


def _document_fault(text: str, private: PrivateText) -> str:
    if _HASH.fullmatch(text):
        return ""
    is_shared = text in private.documents or (len(text) >= _MIN_LENGTH and _shares_text(text, private))
    return "which shares its text with a document" if is_shared else ""


def _shares_text(text: str, private: PrivateText) -> bool:
    """Whether a text is part of a document, contains one, or has a long run of characters in common with one."""
    runs = [text[start : start + _MIN_SHARED] for start in range(max(len(text) - _MIN_SHARED, 0) + 1)]
    if any(run in private.all_documents for run in runs):
        return True
    return any(document in text for document in private.documents if len(document) >= _MIN_LENGTH)
