"""Remarks on the rows of a new task: dropped and duplicate rows, unclear labels, uneven splits."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING

from fin_plugins.authoring.labelled_data import count_duplicates
from fin_plugins.tasks.task_config import CustomDatasetConfig

if TYPE_CHECKING:
    import pandas as pd

    from fin_plugins.tasks.custom_rows import CustomSplits

_FEW_ROWS = 100
_MANY_LABELS = 50
_MAX_LISTED = 8
_MISSING_VALUES = frozenset(("nan", "na", "n/a", "#n/a", "#na", "<na>", "nat", "none", "null", "nil", "-", "--", "?"))
_BOOLEANS = frozenset(("true", "false", "yes", "no", "t", "f", "y", "n"))


@dataclass(frozen=True)
class PlannedData:
    """The data of a new task.

    Attributes:
        frame: `text` and `label` of all rows that are not dropped.
        config: the settings under `dataset_kwargs`.
        words: the word by label in the data.
        counts: rows by word.
        splits: the splits.
        no_licence: whether the licence is not stated.
        balanced_seed: a seed with which every split has rows of every frequent label; None if none was found.
    """

    frame: "pd.DataFrame"
    config: CustomDatasetConfig
    words: Mapping[str, str]
    counts: Mapping[str, int]
    splits: "CustomSplits"
    no_licence: bool
    balanced_seed: int | None


def data_notes(data: PlannedData) -> Iterator[str]:
    """The remarks, one sentence each."""
    yield from _row_notes(data)
    yield from _label_notes(data)
    yield from _split_notes(data)
    if data.no_licence:
        yield "the licence is not stated, which `fin task check` asks for: --licence"


def _row_notes(data: PlannedData) -> Iterator[str]:
    from fin_plugins.tasks.custom_rows import label_word

    splits, leaks = data.splits, data.splits.leaks
    words = [label_word(label, data.config.labels) or label for label in data.frame["label"]]
    repeated, conflicts = count_duplicates(list(data.frame["text"]), words)
    counts = {
        f"{splits.dropped} rows are left out for their label": splits.dropped,
        f"{splits.empty} rows have no text and are left out": splits.empty,
        f"{repeated} rows repeat the text of an earlier one": repeated,
        f"{conflicts} texts carry two different labels: no model can be right on all of their rows": conflicts,
        f"{leaks} rows are left out of train or validation because a held-out split has their text": leaks,
    }
    yield from (note for note, count in counts.items() if count)


def _label_notes(data: PlannedData) -> Iterator[str]:
    words = list(data.counts)
    labels = {word: [label for label, target in data.words.items() if target == word] for word in words}
    for word in words:
        if len(labels[word]) > 1:
            yield f"{', '.join(labels[word])} count as {word}"
    for word in words:
        if word.casefold() in _MISSING_VALUES:
            label = labels[word][0]
            yield (
                f"label {word} ({data.counts[word]:,} rows) looks like a missing value: --drop-label {quote(label)} "
                f"leaves these rows out, --alias {quote(f'{label}=WORD')} asks for a word"
            )
    if all(map(_is_uninformative, words)):
        aliases = " ".join(f"--alias {quote(label)}=…" for label in list(data.words)[:_MAX_LISTED])
        yield f"a model that is asked for {_join(words)} answers at random: say what they stand for: {aliases}"
    prefixes = [(word, other) for word in words for other in words if word != other and other.startswith(word)]
    for short, long in prefixes[:_MAX_LISTED]:
        yield (
            f"label {long} begins with label {short}, so it hardly ever scores higher: "
            f"give one of them another word, as in --alias {quote(labels[long][0])}=WORD"
        )
    if len(words) > _MANY_LABELS:
        yield (
            f"{len(words)} labels: `fin eval` with fin_hf or fin_vllm reads each prompt once for all of them; "
            f"plain lm_eval reads it {len(words)} times"
        )


def _split_notes(data: PlannedData) -> Iterator[str]:
    frames = data.splits.frames
    absent = [word for word, count in data.counts.items() if not count]
    if absent:
        yield f"no row has the label {_join(absent)}"
    uneven = False
    for split, frame in frames.items():
        present = set(frame["label"])
        missing = [f"{word} ({count:,} in all)" for word, count in data.counts.items() if count and word not in present]
        if missing:
            uneven = True
            yield f"no {split} row has the label {_join(missing)}"
    if data.config.splits and data.config.splits.test < 1:
        yield "a row's split depends on its text alone, so it stays when rows are added; sizes are near the shares"
        if uneven and data.balanced_seed not in (None, data.config.split_seed):
            yield f"with --split-seed {data.balanced_seed} every split has rows of every label that is not rare"
    if len(frames["test"]) < _FEW_ROWS:
        yield f"{len(frames['test'])} test rows: intervals will be wide"


def _is_uninformative(word: str) -> bool:
    """Whether a label is a number, a letter, or yes or no, which means nothing on its own."""
    return len(word) == 1 or word.casefold() in _BOOLEANS or word.lstrip("-").replace(".", "", 1).isdecimal()


def _join(words: Sequence[str]) -> str:
    more = f" and {len(words) - _MAX_LISTED} more" if len(words) > _MAX_LISTED else ""
    return ", ".join(words[:_MAX_LISTED]) + more
