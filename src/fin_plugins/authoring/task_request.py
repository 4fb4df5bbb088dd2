"""The request for a new task: from options, guesses about the data, and answers to questions on a terminal."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from fin_plugins.authoring.labelled_data import ColumnGuess, DataSource, concat_splits, guess_columns
from fin_plugins.common.errors import FinError
from fin_plugins.tasks.task_config import FinMetadata

NOT_STATED = "not stated"
"""Licence of the data if the user names none."""
_DEFAULT_SHARES = {"test": 0.2, "validation": 0.1}


@dataclass(frozen=True)
class TaskRequest:
    """The user's decisions about a task.

    Attributes:
        name: name of the task.
        text: column of the text.
        label: column of the label.
        labels: the label set in order; empty for the labels in the data.
        words: the word that the model is asked for, by label in the data.
        drop_labels: labels whose rows are left out.
        instruction: instruction of the prompt; None for one that names the labels.
        split_column: column that names the splits; None if there is none.
        shares: share of the rows to cut off, by split; empty for the splits of the data.
        split_seed: seed of that cut; None for the default.
        card: what reports need to know.
    """

    name: str
    text: str
    label: str
    labels: tuple[str, ...]
    words: Mapping[str, str]
    drop_labels: tuple[str, ...]
    instruction: str | None
    split_column: str | None
    shares: Mapping[str, float]
    split_seed: int | None
    card: FinMetadata


@dataclass(frozen=True)
class Prompter:
    """Asks for what the options leave open.

    Attributes:
        is_interactive: whether there is a terminal to ask on.
        accept_guesses: whether guesses about the data are used without asking.
    """

    is_interactive: bool
    accept_guesses: bool

    def column(self, role: str, given: str | None, guess: str | None, choices: list[str]) -> str | None:
        """The column with a role; None if it is still open."""
        if given is not None or self.accept_guesses:
            return given if given is not None else guess
        if not self.is_interactive:
            return None
        return str(click.prompt(f"Column of the {role}", guess, type=click.Choice(choices)))

    def line(self, question: str, given: str | None, default: str) -> str:
        """A line of text."""
        if given is not None or not self.is_interactive:
            return default if given is None else given
        return str(click.prompt(question, default))

    def confirm(self, question: str, given: bool | None, default: bool = False) -> bool:
        """Yes or no."""
        if given is not None or not self.is_interactive:
            return default if given is None else given
        return click.confirm(question, default)


def build_request(name: str, source: DataSource, options: Mapping[str, Any], prompter: Prompter) -> TaskRequest:
    """Combine options, guesses and answers.

    Args:
        name: name of the task.
        source: the rows.
        options: options of `fin task new` by name; None for an option that was not given.
        prompter: asks for the rest.

    Raises:
        FinError: a column is still open, or an option is invalid.
    """
    frame = concat_splits(source.frames)
    guess = guess_columns(frame)
    choices = [str(column) for column in frame.columns]
    text = prompter.column("text", options["text"], guess.text, choices)
    label = prompter.column("label", options["label"], guess.label, choices)
    if text is None or label is None:
        raise FinError(_open_columns({"--text": (text, guess.text), "--label": (label, guess.label)}, choices, options))
    split_column = _split_column(source, options, guess)
    return TaskRequest(
        name=name,
        text=text,
        label=label,
        labels=tuple(item.strip() for item in (options["labels"] or "").split(",") if item.strip()),
        words=_parse_aliases(options["alias"]),
        drop_labels=tuple(item.strip() for item in options["drop_label"]),
        instruction=options["instruction"],
        split_column=split_column,
        shares=_shares(source, options, split_column),
        split_seed=options["split_seed"],
        card=FinMetadata(
            seen=prompter.confirm("Will models be trained on it?", options["seen"]),
            language=prompter.line("Language of the texts", options["language"], "en") or "en",
            source=prompter.line("Where does the data come from?", options["source"], source.description)
            or source.description,
            licence=prompter.line("Licence of the data", options["licence"], NOT_STATED) or NOT_STATED,
        ),
    )


def _open_columns(
    columns: Mapping[str, tuple[str | None, str | None]], choices: list[str], options: Mapping[str, Any]
) -> str:
    """The message about missing options, with the guessed columns.

    Args:
        columns: the given and the guessed column of each option.
        choices: all columns.
        options: options of `fin task new`.
    """
    guesses = {option: guess for option, (given, guess) in columns.items() if given is None}
    missing = " ".join(f"{option} {shlex.quote(guess) if guess else 'COLUMN'}" for option, guess in guesses.items())
    accept = "" if None in guesses.values() or options["yes"] else ", or --yes to take these"
    return f"say which column is which: {missing}{accept}; there are {', '.join(choices)}"


def _split_column(source: DataSource, options: Mapping[str, Any], guess: ColumnGuess) -> str | None:
    """The given split column, or the guessed one unless the data or an option say otherwise."""
    if options["split_column"] is not None:
        return str(options["split_column"])
    has_shares = options["test"] is not None or options["validation"] is not None
    return None if has_shares or source.has_splits else guess.split


def _shares(source: DataSource, options: Mapping[str, Any], split_column: str | None) -> dict[str, float]:
    shares = {key: options[key] for key in _DEFAULT_SHARES if options[key] is not None}
    if shares.get("test") == 1 and options["seen"]:
        raise FinError("--test 1 leaves no rows to train on: use a smaller share, or --unseen")
    if shares.get("test") == 1:
        shares.setdefault("validation", 0)
    if not shares and (split_column or source.has_splits):
        return {}
    return {split: share for split, share in (_DEFAULT_SHARES | shares).items() if share}


def _parse_aliases(arguments: tuple[str, ...]) -> dict[str, str]:
    words = {}
    for argument in arguments:
        label, equals, word = argument.partition("=")
        if not equals or not label.strip() or not word.strip():
            raise FinError(f"--alias {argument}: must be LABEL=WORD, as in 0=dovish")
        words[label.strip()] = word.strip()
    return words
