"""The last look at what is to be committed: no document's text, no path of a machine, no name of a home folder."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fin_plugins.common.errors import FinError

# At the start of a text or of a word in it: /x, ~/x, C:\x, \\x, file:/x.
_PATH = re.compile(r"(?:^|[\s\"'=:,;([{<>|@])(?:~[\w.-]*/|/[^\s/]|//|[A-Za-z]:[\\/]|\\\\)")
_LONG = 12  # shorter texts occur in documents by chance
_RUN = 24  # characters on end that two texts have in common by no chance
_HASH = re.compile(r"[0-9a-f.+]{16,}")


@dataclass(frozen=True)
class Secrets:
    """What must not be written.

    Attributes:
        documents: texts and replies.
        home: name of the home folder; empty where there is none.
    """

    documents: frozenset[str]
    home: str

    @cached_property
    def all_documents(self) -> str:
        """All in one, which is the quick way to look for something."""
        return "\0".join(sorted(self.documents))


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
    known, fields = frozenset(words), frozenset(_fields(value))
    for text in sorted(set(texts_in(value))):
        fault = _path(text)
        if not fault and text not in known:
            fault = _home(text, secrets.home) or ("" if text in fields else _document(text, secrets))
        if fault:
            raise FinError(
                f"{where}: would contain {text[:60]!r}, {fault}: nothing of it was written; "
                "give the model another name to show, and look at the task's labels and version"
            )


def _fields(value: Any) -> Iterator[str]:
    """Names of fields of one word: a model may well have replied `data`, and given nothing away by it."""
    if isinstance(value, dict):
        yield from (name for name in value if name.isidentifier())
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from _fields(one)


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


def _document(text: str, secrets: Secrets) -> str:
    """A text that is a document, stands in one, has one in it, or has so many characters on end in common with one."""
    if _HASH.fullmatch(text):
        return ""
    shared = text in secrets.documents or (len(text) >= _LONG and _shares(text, secrets))
    return "which shares its text with a document" if shared else ""


def _shares(text: str, secrets: Secrets) -> bool:
    runs = [text[start : start + _RUN] for start in range(max(len(text) - _RUN, 0) + 1)]
    if any(run in secrets.all_documents for run in runs):
        return True
    return any(document in text for document in secrets.documents if len(document) >= _LONG)
