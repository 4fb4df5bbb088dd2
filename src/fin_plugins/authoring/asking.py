"""What a new task is to be: from flags, from what is found in the data, and from questions on a terminal."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from fin_plugins.authoring import look
from fin_plugins.authoring.plan import NOT_STATED, Wishes
from fin_plugins.authoring.source import Source
from fin_plugins.common.errors import FinError
from fin_plugins.tasks.fields import Card

_SHARES = {"test": 0.2, "validation": 0.1}


@dataclass(frozen=True)
class Asking:
    """Whether questions may be asked.

    Attributes:
        on: they may.
        guess: they may not, and what is found in the data is taken.
    """

    on: bool
    guess: bool

    def column(self, flag: str, given: str | None, found: str | None, choices: list[str]) -> str | None:
        """The column for a flag; None where it is to be named."""
        if given is not None or self.guess:
            return given if given is not None else found
        return str(click.prompt(f"Column of the {flag}", found, type=click.Choice(choices))) if self.on else None

    def line(self, question: str, given: str | None, default: str) -> str:
        """A line of text."""
        if given is not None or not self.on:
            return default if given is None else given
        return str(click.prompt(question, default))

    def confirm(self, question: str, given: bool | None, default: bool = False) -> bool:
        """Yes or no."""
        if given is not None or not self.on:
            return default if given is None else given
        return click.confirm(question, default)


def wishes(name: str, source: Source, flags: Mapping[str, Any], asking: Asking) -> Wishes:
    """Put together what the user wants.

    Args:
        name: of the task.
        source: the rows.
        flags: of `fin task new`, by name; None where one was not given.
        asking: whether questions may be asked.

    Raises:
        FinError: a column is to be named and is not, or a flag cannot be read.
    """
    frame = look.all_rows(source.frames)
    guessed = look.guess(frame)
    choices = [str(column) for column in frame.columns]
    text = asking.column("text", flags["text"], guessed.text, choices)
    label = asking.column("label", flags["label"], guessed.label, choices)
    if text is None or label is None:
        raise FinError(_unnamed({"--text": (text, guessed.text), "--label": (label, guessed.label)}, choices, flags))
    split_column = _split_column(source, flags, guessed)
    return Wishes(
        name=name,
        text=text,
        label=label,
        labels=tuple(one.strip() for one in (flags["labels"] or "").split(",") if one.strip()),
        words=_pairs(flags["alias"]),
        dropped=tuple(one.strip() for one in flags["drop_label"]),
        instruction=flags["instruction"],
        split_column=split_column,
        shares=_shares(source, flags, split_column),
        split_seed=flags["split_seed"],
        card=Card(
            seen=asking.confirm("Will models be trained on it?", flags["seen"]),
            language=asking.line("Language of the texts", flags["language"], "en") or "en",
            source=asking.line("Where does the data come from?", flags["source"], source.shown) or source.shown,
            licence=asking.line("Licence of the data", flags["licence"], NOT_STATED) or NOT_STATED,
        ),
    )


def _unnamed(columns: Mapping[str, tuple[str | None, str | None]], choices: list[str], flags: Mapping[str, Any]) -> str:
    """Which flags are missing, with the columns that seem to be meant."""
    missing = {flag: found for flag, (given, found) in columns.items() if given is None}
    shown = " ".join(f"{flag} {shlex.quote(found) if found else 'COLUMN'}" for flag, found in missing.items())
    sure = "" if None in missing.values() or flags["yes"] else ", or --yes to take these"
    return f"say which column is which: {shown}{sure}; there are {', '.join(choices)}"


def _split_column(source: Source, flags: Mapping[str, Any], guessed: look.Columns) -> str | None:
    """The column that names splits: as told, or a telling one where neither the data nor a flag says otherwise."""
    if flags["split_column"] is not None:
        return str(flags["split_column"])
    told = flags["test"] is not None or flags["validation"] is not None
    return None if told or source.has_splits or "files" in source.keys else guessed.split


def _shares(source: Source, flags: Mapping[str, Any], split_column: str | None) -> dict[str, float]:
    told = {key: flags[key] for key in ("test", "validation") if flags[key] is not None}
    if told.get("test") == 1 and flags["seen"]:
        raise FinError("--test 1 leaves no rows to train on: take a smaller share, or --unseen")
    if told.get("test") == 1:
        told.setdefault("validation", 0)
    if not told and (split_column or source.has_splits or "files" in source.keys):
        return {}
    return {key: share for key, share in (_SHARES | told).items() if share}


def _pairs(given: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for one in given:
        label, equals, word = one.partition("=")
        if not equals or not label.strip() or not word.strip():
            raise FinError(f"--alias {one}: must be LABEL=WORD, as in 0=dovish")
        pairs[label.strip()] = word.strip()
    return pairs
