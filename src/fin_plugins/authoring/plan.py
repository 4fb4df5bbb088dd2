"""From what a user says and what is in the rows to a task that will run, and what there is to know about it."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fin_plugins.authoring import look
from fin_plugins.authoring.draft import Draft, template_of
from fin_plugins.authoring.notes import Facts, notes
from fin_plugins.authoring.source import Source
from fin_plugins.common.errors import FinError
from fin_plugins.common.validation import did_you_mean, validate
from fin_plugins.tasks.fields import OWN_ROWS_PLACEHOLDERS, Card, OwnRows

if TYPE_CHECKING:
    import pandas as pd

NOT_STATED = "not stated"
"""The licence of data whose licence the user did not name."""


@dataclass(frozen=True)
class Wishes:
    """What the user says about the task.

    Attributes:
        name: of the task.
        text: column of the text.
        label: column of the label.
        labels: the label set in order; empty for what the data has.
        words: for a label in the data, the word that the model is asked for.
        dropped: labels whose rows are left out.
        instruction: the prompt's; None for one that names the labels.
        split_column: column that names the splits; None for none.
        shares: share of the rows by split that is cut off; empty for the splits that the data has.
        split_seed: of that cut; None for the usual one.
        card: what a reader of the results has to know.
    """

    name: str
    text: str
    label: str
    labels: tuple[str, ...]
    words: Mapping[str, str]
    dropped: tuple[str, ...]
    instruction: str | None
    split_column: str | None
    shares: Mapping[str, float]
    split_seed: int | None
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

    whole = look.all_rows(source.frames)
    texts = look.require(whole, wishes.text, "--text")
    frame = _without_dropped(texts, look.require(whole, wishes.label, "--label"), wishes)
    counts = _chosen(look.labels_in(frame["label"], wishes.label), wishes)
    words = _words(list(counts), wishes)
    rows, keys = _rows(wishes, source, words)
    _require_parseable(rows.words, words)
    full_seed = _full_seed(frame, words, wishes.shares)
    try:
        found = split_up(rows, source.frames, source.shown)
    except FinError as error:
        raise FinError(f"{error}{f' (--split-seed {full_seed} leaves none empty)' if full_seed else ''}") from error
    of_word: dict[str, int] = {}
    for value, count in counts.items():
        of_word[words[value]] = of_word.get(words[value], 0) + count
    counted = f"{len(frame):,} rows, {len(of_word)} labels"
    about = f"{wishes.label.capitalize()} of {source.shown}: {counted}. Made by `fin task new`."
    template = template_of(wishes.instruction, rows.words, wishes.text)
    order = tuple(split for split in ("train", "validation", "test") if split in found.frames)
    return Plan(
        draft=Draft(wishes.name, rows, keys, order, template, about, wishes.card),
        rows=len(whole),
        labels=of_word,
        splits={split: len(found.frames[split]) for split in order},
        notes=tuple(notes(Facts(frame, rows, words, of_word, found, wishes.card.licence == NOT_STATED, full_seed))),
    )


def _chosen(found: dict[str, int], wishes: Wishes) -> dict[str, int]:
    """The counts of the labels in the user's order."""
    unknown = [label for label in found if wishes.labels and label not in wishes.labels]
    if unknown:
        raise FinError(f"--labels leaves out what the data has: {_counted({label: found[label] for label in unknown})}")
    for label in wishes.words:
        if label not in found:
            raise FinError(
                f"--alias {label}=…: no such label in the data{did_you_mean(label, found)}; "
                f"there are {', '.join(found)}"
            )
    return {label: found.get(label, 0) for label in wishes.labels or found}


def _without_dropped(texts: "pd.Series[str]", labels: "pd.Series[str]", wishes: Wishes) -> "pd.DataFrame":
    """Texts and labels of the rows that stay."""
    import pandas as pd

    from fin_plugins.tasks.own_rows import spelled

    there = set(labels.str.strip())
    for label in wishes.dropped:
        if label not in there:
            raise FinError(f"--drop-label {label}: no such label in the data{did_you_mean(label, there)}")
    frame = pd.DataFrame({"text": texts, "label": labels})
    return frame[labels.map(lambda value: spelled(value, wishes.dropped) is None).astype(bool)].reset_index(drop=True)


def _words(labels: Sequence[str], wishes: Wishes) -> dict[str, str]:
    """The word for each label in the data; what differs from a word of `--alias` in its letters' case is that word."""
    from fin_plugins.tasks.parser import folded

    asked = {folded(word): word for word in wishes.words.values()}
    return {label: wishes.words.get(label) or asked.get(folded(label), label) for label in labels}


def _full_seed(frame: "pd.DataFrame", words: Mapping[str, str], shares: Mapping[str, float]) -> int | None:
    """A seed that gives every split rows of every frequent label, for advice only; None where none was found."""
    from fin_plugins.data.splitting import SEED, first_seed
    from fin_plugins.tasks.own_rows import label_of

    if not shares or sum(shares.values()) > 1:
        return None
    known = frame.assign(label=frame["label"].map(lambda label: label_of(label, dict(words))))
    filled = known[known["text"].str.strip() != ""]
    return first_seed(filled, SEED, test=shares.get("test", 0.0), validation=shares.get("validation", 0.0))


def _rows(wishes: Wishes, source: Source, words: Mapping[str, str]) -> tuple[OwnRows, dict[str, Any]]:
    named = dict(words) if any(label != word for label, word in words.items()) else list(words)
    keys: dict[str, Any] = {
        **source.keys,
        "columns": {"text": wishes.text, "label": wishes.label},
        "labels": named,
        **({"drop_labels": list(wishes.dropped)} if wishes.dropped else {}),
        **({"split_column": wishes.split_column} if wishes.split_column else {}),
        **({"splits": dict(wishes.shares)} if wishes.shares else {}),
        "split_method": "text_hash",
        **({"split_seed": wishes.split_seed} if wishes.split_seed is not None else {}),
    }
    rows, findings = validate(OwnRows, keys, OWN_ROWS_PLACEHOLDERS)
    if rows is None:
        raise FinError("; ".join(f"{'.'.join(map(str, key))}: {message}" for key, message in findings))
    return rows, keys


def _require_parseable(words: Sequence[str], labels: Mapping[str, str]) -> None:
    """Labels are also looked for in what a model writes."""
    from fin_plugins.tasks.parser import folded, parse_label

    broken = [word for word in words if not word.isprintable()]
    if broken:
        raise FinError(
            f"label {broken[0]!r}: has a line break or a character that cannot be seen: use --alias LABEL=WORD"
        )
    forms: dict[tuple[str, ...], list[str]] = {}
    for word in words:
        forms.setdefault(folded(word), []).append(word)
    alike = [found for form, found in forms.items() if form and len(found) > 1]
    if alike:
        merge = " ".join(f"--alias {shlex.quote(_merged(found, labels))}" for found in alike)
        shown = "; ".join(", ".join(found) for found in alike)
        raise FinError(f"labels that whoever answers cannot tell apart: {shown}: make one of each: {merge}")
    try:
        parse_label("", words)
    except ValueError as error:
        raise FinError(f"{error}: give it a word with --alias LABEL=WORD") from error


def _merged(alike: Sequence[str], labels: Mapping[str, str]) -> str:
    """What `--alias` has to say so that labels become one: the one in small letters where there is one."""
    word = min(alike, key=lambda one: (one != one.lower(), one))
    return next(f"{label}={word}" for label, said in labels.items() if said in alike and said != word)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{label} ({count:,})" for label, count in counts.items())
