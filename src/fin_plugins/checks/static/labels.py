"""Labels and their further spellings, as scoring and the parser of answers see them."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from fin_plugins.checks.model import Finding, TaskFile
from fin_plugins.common.foreign_files import get_in
from fin_plugins.common.validation import did_you_mean
from fin_plugins.common.yaml_nodes import Key
from fin_plugins.tasks.parser import folded

_LABELS: Key = ("dataset_kwargs", "labels")
_ALIASES: Key = ("dataset_kwargs", "aliases")


class _Label(NamedTuple):
    key: Key
    word: str


def words(file: TaskFile) -> Iterator[Finding]:
    """Each label by itself, and that there are two of them."""
    labels = _labels(file)
    if _count(file) == 1:
        yield file.finding("L07", _LABELS, "one label leaves nothing to choose between")
    if _count(file) == 0:
        yield file.finding("L07", _LABELS, "no labels: list those that the data carries")
    for label in labels:
        if not label.word.strip():
            yield file.finding("L01", label.key, "empty")
        elif not folded(label.word):
            message = f"`{label.word}` has no letter or digit, so no answer can be found to name it: give it a word"
            yield file.finding("L05", label.key, message)
        elif label.word != " ".join(label.word.split()):
            message = f"`{label.word}` has a blank at an end, two in a row or a line break: write `{_one_blank(label)}`"
            yield file.finding("L06", label.key, message)


def pairs(file: TaskFile) -> Iterator[Finding]:
    """Labels that cannot be told apart, or of which one begins another."""
    forms = {label: form for label in _labels(file) if (form := folded(label.word))}
    labels = list(forms)
    scored = file.data.get("output_type") == "multiple_choice"
    for number, label in enumerate(labels):
        for other in labels[:number]:
            if label.word == other.word and isinstance(label.key[-1], str):
                continue  # two values in the data may stand for one word
            if forms[label] == forms[other]:
                same = "twice" if label.word == other.word else f"and `{other.word}` are one label to whoever answers"
                yield file.finding("L02", label.key, f"`{label.word}` {same}: take one of them out")
            elif scored:
                yield from _prefix(file, label, other)


def choices(file: TaskFile) -> Iterator[Finding]:
    """No choice stands twice in a list of any task's own: lm-eval would compare a text with itself."""
    listed = file.data.get("doc_to_choice")
    seen: set[str] = set()
    for number, word in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(word, str):
            if word in seen:
                yield file.finding("L02", ("doc_to_choice", number), f"`{word}` twice: take one of them out")
            seen.add(word)


def aliases(file: TaskFile) -> Iterator[Finding]:
    """Further spellings belong to a label that is there, and to that one only."""
    labels, spellings = _labels(file), _spellings(file)
    for name, listed in spellings.items():
        if name not in [label.word for label in labels]:
            message = f"`{name}` is none of the labels{did_you_mean(name, [label.word for label in labels])}"
            yield file.finding("L08", (*_ALIASES, name), message)
        for number, spelling in enumerate(listed):
            yield from _alias(file, (*_ALIASES, name, number), name, spelling)


def _alias(file: TaskFile, key: Key, name: str, spelling: str) -> Iterator[Finding]:
    if not folded(spelling):
        yield file.finding("L05", key, f"`{spelling}` has no letter or digit, so no answer can be found to name it")
        return
    others = [label.word for label in _labels(file) if label.word != name]
    others += [other for owner, listed in _spellings(file).items() if owner < name for other in listed]
    for other in others:
        if folded(other) == folded(spelling):
            yield file.finding("L09", key, f"`{spelling}` stands for `{name}` here, but is another label's, too")
            return


def _prefix(file: TaskFile, label: _Label, other: _Label) -> Iterator[Finding]:
    """The finding stands at the longer one, which is the one that loses."""
    short, long = sorted((label, other), key=lambda one: len(one.word))
    if long.word.startswith(f"{short.word} "):
        message = f"`{long.word}` begins with the label `{short.word}`, so it can hardly ever score higher than it"
        yield file.finding("L03", long.key, f"{message}: choose another word for one of them")
    elif long.word.startswith(short.word):
        message = f"`{long.word}` begins with the label `{short.word}`: with some tokenizers it can never win"
        yield file.finding("L04", long.key, f"{message}; check with --tokenizer MODEL, or choose another word")


def _labels(file: TaskFile) -> list[_Label]:
    """The words that the model is asked for; what is no text is for the rules about keys to report."""
    listed = get_in(file.data, *_LABELS) if file.ours else None
    items = listed.items() if isinstance(listed, dict) else enumerate(listed) if isinstance(listed, list) else ()
    return [_Label((*_LABELS, name), word) for name, word in items if isinstance(word, str)]


def _count(file: TaskFile) -> int | None:
    listed = get_in(file.data, *_LABELS) if file.ours else None
    return len(listed) if isinstance(listed, dict | list) else None


def _spellings(file: TaskFile) -> dict[str, list[str]]:
    given = get_in(file.data, *_ALIASES) if file.ours else None
    if not isinstance(given, Mapping):
        return {}
    listed = {name: spelled for name, spelled in given.items() if isinstance(spelled, list)}
    return {name: [one for one in spelled if isinstance(one, str)] for name, spelled in listed.items()}


def _one_blank(label: _Label) -> str:
    return " ".join(label.word.split())
