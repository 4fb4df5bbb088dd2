"""What a user should know about the rows of a new task."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING

from fin_plugins.authoring import look
from fin_plugins.tasks.fields import OwnRows

if TYPE_CHECKING:
    import pandas as pd

    from fin_plugins.tasks.own_rows import Split

_FEW_ROWS = 100
_MANY_LABELS = 50
_SHOWN = 8
_NO_VALUE = frozenset(("nan", "na", "n/a", "#n/a", "#na", "<na>", "nat", "none", "null", "nil", "-", "--", "?"))
_NO_WORDS = frozenset(("true", "false", "yes", "no", "t", "f", "y", "n"))


@dataclass(frozen=True)
class Facts:
    """A new task and its rows.

    Attributes:
        frame: `text` and `label` of all rows that stay.
        rows: what the task file says.
        words: the word for each label in the data.
        counts: rows by word.
        found: the splits.
        no_licence: whether the licence is not stated.
        full_seed: a seed that gives every split rows of every frequent label; None where none was found.
    """

    frame: "pd.DataFrame"
    rows: OwnRows
    words: Mapping[str, str]
    counts: Mapping[str, int]
    found: "Split"
    no_licence: bool
    full_seed: int | None


def notes(facts: Facts) -> Iterator[str]:
    """One sentence on each thing."""
    yield from _of_rows(facts)
    yield from _of_labels(facts)
    yield from _of_splits(facts)
    if facts.no_licence:
        yield "the licence is not stated, which `fin task check` asks for: --licence"


def _of_rows(facts: Facts) -> Iterator[str]:
    from fin_plugins.tasks.own_rows import label_of

    frame, found = facts.frame, facts.found
    words = [label_of(label, facts.rows.labels) or label for label in frame["label"]]
    repeated, conflicts = look.oddities(list(frame["text"]), words)
    said = {
        f"{found.dropped} rows are left out for their label": found.dropped,
        f"{found.empty} rows have no text and are left out": found.empty,
        f"{repeated} rows repeat the text of an earlier one": repeated,
        f"{conflicts} texts carry two different labels: no model can be right on all of their rows": conflicts,
        f"{found.leaks} rows are left out of train or validation because a held-out split has their text": found.leaks,
    }
    yield from (note for note, applies in said.items() if applies)


def _of_labels(facts: Facts) -> Iterator[str]:
    words = list(facts.counts)
    merged = {word: [label for label, said in facts.words.items() if said == word] for word in words}
    for word, labels in merged.items():
        if len(labels) > 1:
            yield f"{', '.join(labels)} count as {word}"
    for word in words:
        if word.casefold() in _NO_VALUE:
            yield (
                f"label {word} ({facts.counts[word]:,} rows) reads like a missing value: "
                f"--drop-label {quote(merged[word][0])} leaves these rows out, "
                f"--alias {quote(f'{merged[word][0]}=WORD')} asks for a word"
            )
    if all(_says_nothing(word) for word in words):
        offer = " ".join(f"--alias {quote(label)}=…" for label in list(facts.words)[:_SHOWN])
        yield f"a model that is asked for {_listed(words)} answers at random: say what they stand for: {offer}"
    for short, long in _beginnings(words)[:_SHOWN]:
        yield (
            f"label {long} begins with label {short}, so it hardly ever scores higher: "
            f"give one of them another word, as in --alias {quote(merged[long][0])}=WORD"
        )
    if len(words) > _MANY_LABELS:
        yield (
            f"{len(words)} labels: `fin eval` with fin_hf or fin_vllm reads a prompt once for all of them; "
            f"plain lm_eval reads it {len(words)} times"
        )


def _of_splits(facts: Facts) -> Iterator[str]:
    test = facts.found.frames["test"]
    absent = [word for word, count in facts.counts.items() if not count]
    if absent:
        yield f"no row has the label {_listed(absent)}"
    uneven = False
    for split, frame in facts.found.frames.items():
        there = set(frame["label"])
        lacking = [f"{word} ({count:,} in all)" for word, count in facts.counts.items() if count and word not in there]
        if lacking:
            uneven = True
            yield f"no {split} row has the label {_listed(lacking)}"
    if facts.rows.splits and facts.rows.splits.test < 1:
        yield "a row's split depends on its text alone, so it stays when rows are added; sizes are near the shares"
        if uneven and facts.full_seed not in (None, facts.rows.split_seed):
            yield f"with --split-seed {facts.full_seed} every split has rows of every label that is not rare"
    if len(test) < _FEW_ROWS:
        yield f"{len(test)} test rows: intervals will be wide"


def _says_nothing(word: str) -> bool:
    """Whether a label is a number, a letter or yes or no, which says nothing without the question."""
    return len(word) == 1 or word.casefold() in _NO_WORDS or word.lstrip("-").replace(".", "", 1).isdecimal()


def _beginnings(words: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of labels of which the first begins the second."""
    return [(one, other) for one in words for other in words if one != other and other.startswith(one)]


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:_SHOWN]) + (f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else "")
