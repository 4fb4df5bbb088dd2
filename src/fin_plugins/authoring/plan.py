"""From what a user says and what is in the rows to a task that will run, and what there is to know about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fin_plugins.authoring import look
from fin_plugins.authoring.draft import Draft, template_of
from fin_plugins.authoring.source import Source
from fin_plugins.errors import FinError
from fin_plugins.model_check import check, hint
from fin_plugins.tasks.fields import Card, OwnRows

if TYPE_CHECKING:
    import pandas as pd

    from fin_plugins.tasks.own_rows import Split

NOT_STATED = "not stated"
"""The licence of data whose licence the user did not name."""

_FEW = 100
_STAND_INS = {"file": "rows.csv", "splits": {"test": 0.2}, "labels": ["a", "b"]}


@dataclass(frozen=True)
class Wishes:
    """What the user says about the task.

    Attributes:
        name: of the task.
        text: column of the text.
        label: column of the label.
        labels: the label set in order; empty for what the data has.
        words: for a label in the data, the word that the model is asked for.
        instruction: the prompt's; None for one that names the labels.
        split_column: column that names the splits; None for none.
        shares: share of the rows by split that is cut off; empty for the splits that the data has.
        card: what a reader of the results has to know.
    """

    name: str
    text: str
    label: str
    labels: tuple[str, ...]
    words: Mapping[str, str]
    instruction: str | None
    split_column: str | None
    shares: Mapping[str, float]
    card: Card


@dataclass(frozen=True)
class Plan:
    """A task that can be written.

    Attributes:
        draft: the task.
        rows: rows in the data.
        labels: how many rows of each label, as the model sees it.
        splits: how many rows of each split.
        notes: what the user should know.
    """

    draft: Draft
    rows: int
    labels: dict[str, int]
    splits: dict[str, int]
    notes: tuple[str, ...]


def plan(wishes: Wishes, source: Source) -> Plan:
    """Make a task of wishes and rows.

    Raises:
        FinError: they do not fit together.
    """
    from fin_plugins.tasks.own_rows import split_up

    frame = look.all_rows(source.frames)
    look.require(frame, wishes.text, "--text")
    look.require(frame, wishes.label, "--label")
    counts = _chosen(look.labels_in(frame[wishes.label], wishes.label), wishes)
    rows, keys = _rows(wishes, source, list(counts))
    _require_parseable(rows.words)
    found = split_up(rows, source.frames, source.shown)
    of_word: dict[str, int] = {}
    for value, count in counts.items():
        word = wishes.words.get(value, value)
        of_word[word] = of_word.get(word, 0) + count
    counted = f"{len(frame):,} rows, {len(of_word)} labels"
    about = f"{wishes.label.capitalize()} of {source.shown}: {counted}. Made by `fin task new`."
    template = template_of(wishes.instruction, rows.words, wishes.text)
    order = tuple(split for split in ("train", "validation", "test") if split in found.frames)
    return Plan(
        draft=Draft(wishes.name, rows, keys, order, template, about, wishes.card),
        rows=len(frame),
        labels=of_word,
        splits={split: len(found.frames[split]) for split in order},
        notes=tuple(_notes(frame, wishes, of_word, found)),
    )


def _chosen(found: dict[str, int], wishes: Wishes) -> dict[str, int]:
    """The counts of the labels in the user's order."""
    unknown = [label for label in found if wishes.labels and label not in wishes.labels]
    if unknown:
        raise FinError(f"--labels leaves out what the data has: {_counted({label: found[label] for label in unknown})}")
    for label in wishes.words:
        if label not in found:
            raise FinError(
                f"--alias {label}=…: no such label in the data{hint(label, found)}; there are {', '.join(found)}"
            )
    return {label: found.get(label, 0) for label in wishes.labels or found}


def _rows(wishes: Wishes, source: Source, labels: list[str]) -> tuple[OwnRows, dict[str, Any]]:
    named = {label: wishes.words.get(label, label) for label in labels} if wishes.words else labels
    keys: dict[str, Any] = {
        **source.keys,
        "columns": {"text": wishes.text, "label": wishes.label},
        "labels": named,
        **({"split_column": wishes.split_column} if wishes.split_column else {}),
        **({"splits": dict(wishes.shares)} if wishes.shares else {}),
    }
    rows, findings = check(OwnRows, keys, _STAND_INS)
    if rows is None:
        raise FinError("; ".join(f"{'.'.join(map(str, key))}: {message}" for key, message in findings))
    return rows, keys


def _require_parseable(words: Sequence[str]) -> None:
    """Labels are also looked for in what a model writes."""
    from fin_plugins.tasks.parser import parse_label

    broken = [word for word in words if not word.isprintable()]
    if broken:
        raise FinError(
            f"label {broken[0]!r}: has a line break or a character that cannot be seen: use --alias LABEL=WORD"
        )
    try:
        parse_label("", words)
    except ValueError as error:
        raise FinError(f"{error}: give it a word with --alias LABEL=WORD") from error


def _notes(frame: "pd.DataFrame", wishes: Wishes, counts: Mapping[str, int], found: "Split") -> list[str]:
    repeated, conflicts = look.oddities(list(frame[wishes.text]), list(frame[wishes.label]))
    absent = [label for label, count in counts.items() if not count]
    test = found.frames["test"]
    untested = [label for label in counts if label not in absent and label not in set(test["label"])]
    said = {
        f"{found.empty} rows have no text and are left out": found.empty,
        f"{repeated} rows repeat the text of an earlier one": repeated,
        f"{conflicts} texts carry two different labels: no model can be right on all of their rows": conflicts,
        f"{found.leaks} rows are left out of train or validation because a held-out split has their text": found.leaks,
        f"no row has the label {', '.join(absent)}": absent,
        f"no test row has the label {', '.join(untested)}": untested,
        f"{len(test)} test rows: intervals will be wide": len(test) < _FEW,
        "the licence is not stated, which `fin task check` asks for: --licence": wishes.card.licence == NOT_STATED,
    }
    return [note for note, applies in said.items() if applies]


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{label} ({count:,})" for label, count in counts.items())
