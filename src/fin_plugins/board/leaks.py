"""The last look at what is to be committed: no document's text, no path of a machine, no name of a home folder."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fin_plugins.errors import FinError

# At the start of a text or of a word in it: /x, ~/x, C:\x, \\x, file:/x.
_PATH = re.compile(r"(?:^|[\s\"'=:,;([{<>|@])(?:~[\w.-]*)?(?:/[^\s/]|//|[A-Za-z]:[\\/]|\\\\)")
_LONG = 12  # shorter texts occur in documents by chance


@dataclass(frozen=True)
class Secrets:
    """What must not be written.

    Attributes:
        documents: texts and replies.
        home: name of the home folder; empty where there is none.
    """

    documents: frozenset[str]
    home: str


def home_name() -> str:
    """Name of the home folder, which is a person's on most machines."""
    try:
        return Path.home().name
    except RuntimeError:
        return ""


def check_clean(value: Any, secrets: Secrets, words: Iterable[str], where: str) -> None:
    """Check every text in a JSON value.

    Args:
        value: what is to be written.
        secrets: what must not be in it.
        words: texts that must be no path, and may otherwise be anything.
        where: the file, for the message.

    Raises:
        FinError: something must not be written; names it, and says what to do.
    """
    known = frozenset(words)
    for text in texts_in(value):
        fault = _path(text) or (
            "" if text in known else _home(text, secrets.home) or _document(text, secrets.documents)
        )
        if fault:
            raise FinError(
                f"{where}: would contain {text[:60]!r}, {fault}: nothing of it was written; "
                "give the model another name to show, and look at the task's labels and version"
            )


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a JSON value, names included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from texts_in(name)
            yield from texts_in(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from texts_in(one)


def _path(text: str) -> str:
    return "which looks like a path of this machine" if _PATH.search(text) else ""


def _home(text: str, home: str) -> str:
    named = home and re.search(rf"(?<![^\W_]){re.escape(home)}(?![^\W_])", text, re.IGNORECASE)
    return "in which the name of the home folder stands" if named else ""


def _document(text: str, documents: frozenset[str]) -> str:
    """A text that is a document, stands in one, or has one in it."""
    if text in documents:
        return "which is a document's text"
    inside = len(text) >= _LONG and any(text in one or (len(one) >= _LONG and one in text) for one in documents)
    return "which shares its text with a document" if inside else ""
