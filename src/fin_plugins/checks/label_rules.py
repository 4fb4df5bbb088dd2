"""Rules on labels as the task file lists them, spells them otherwise, and names them in the instruction."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from fin_plugins.checks.findings import Finding
from fin_plugins.checks.task_file import TaskFile
from fin_plugins.checks.template_sandbox import literal_text
from fin_plugins.common.validation import did_you_mean
from fin_plugins.common.yaml_nodes import Function, Key
from fin_plugins.tasks.label_parser import fold_label

_LABELS: Key = ("dataset_kwargs", "labels")
_ALIASES: Key = ("dataset_kwargs", "aliases")
_SENTENCE_END = re.compile(r"[.;:!?\n]|\{\}")
_SEPARATOR = re.compile(r"(,\s*(?:or|and)\b|,|\bor\b|\band\b)", re.IGNORECASE)
_QUOTES = " \t'\"`*()[]‘’“”"
_ARTICLE = re.compile(r"^(?:either|as|a|an|the)\s+", re.IGNORECASE)
_LABEL_MARK = "\ue000"  # of Unicode's private use area: occurs in no text


class _Label(NamedTuple):
    key: Key
    word: str


def check_labels(file: TaskFile) -> Iterator[Finding]:
    """Rules L01 to L09."""
    yield from _check_count(file)
    yield from _check_words(file)
    yield from _check_pairs(file)
    yield from _check_choices(file)
    yield from _check_aliases(file)


def check_instruction(file: TaskFile) -> Iterator[Finding]:
    """Rules P07 and P08: the instruction names the labels, all of them and no others."""
    words = _spellings(file)
    texts = [(key, text) for key in ("description", "doc_to_text") if (text := _instruction(file, key))]
    if not file.is_fin_task or len(words) < 2 or not texts:
        return
    named = {
        word for word, spellings in words.items() if any(_occurs(name, text) for name in spellings for _, text in texts)
    }
    key = next((key for key, text in texts if any(_occurs(word, text) for word in named)), texts[-1][0])
    missing = [word for word in words if word not in named]
    foreign = [word for _, text in texts for word in _foreign_words(text, words)]
    if len(named) > 1 and foreign:
        listing = ", ".join(f"`{word}`{did_you_mean(word, words)}" for word in dict.fromkeys(foreign))
        yield file.finding("P08", (key,), f"the instruction offers a word that is not a label: {listing}")
    if len(named) > 1 and missing:
        listing = ", ".join(f"`{word}`" for word in missing)
        message = f"the instruction names {len(named)} of {len(words)} labels; it leaves out {listing}"
        yield file.finding("P07", (key,), message)


def _check_count(file: TaskFile) -> Iterator[Finding]:
    labels = file.dataset_kwargs.get("labels") if file.is_fin_task else None
    if isinstance(labels, dict | list) and len(labels) == 1:
        yield file.finding("L07", _LABELS, "one label leaves nothing to choose between")
    if isinstance(labels, dict | list) and not labels:
        yield file.finding("L07", _LABELS, "no labels: list those that occur in the data")


def _check_words(file: TaskFile) -> Iterator[Finding]:
    for key, word in _labels(file):
        normalised = " ".join(word.split())
        if not word.strip():
            yield file.finding("L01", key, "empty")
        elif not fold_label(word):
            message = f"`{word}` has no letter or digit, so no answer can name it: use a word"
            yield file.finding("L05", key, message)
        elif word != normalised:
            message = f"`{word}` has a line break, or a blank too many: write `{normalised}`"
            yield file.finding("L06", key, message)


def _check_pairs(file: TaskFile) -> Iterator[Finding]:
    """Labels that are equal, or of which one is a prefix of the other."""
    forms = {label: form for label in _labels(file) if (form := fold_label(label.word))}
    labels = list(forms)
    is_scored = file.data.get("output_type") == "multiple_choice"
    for number, label in enumerate(labels):
        for other in labels[:number]:
            if label.word == other.word and isinstance(label.key[-1], str):
                continue  # two values in the data may stand for one word
            if forms[label] == forms[other]:
                problem = "is listed twice" if label.word == other.word else f"and `{other.word}` read as one label"
                yield file.finding("L02", label.key, f"`{label.word}` {problem}: remove one of them")
            elif is_scored:
                yield from _check_prefix(file, label, other)


def _check_prefix(file: TaskFile, label: _Label, other: _Label) -> Iterator[Finding]:
    """The finding is located at the longer label, which is the one that loses."""
    short, long = sorted((label, other), key=lambda item: len(item.word))
    if long.word.startswith(f"{short.word} "):
        message = f"`{long.word}` begins with the label `{short.word}`, so it can hardly ever score higher"
        yield file.finding("L03", long.key, f"{message}: choose another word for one of them")
    elif long.word.startswith(short.word):
        message = f"`{long.word}` begins with the label `{short.word}`: with some tokenizers it can never win"
        yield file.finding("L04", long.key, f"{message}; check with --tokenizer MODEL, or choose another word")


def _check_choices(file: TaskFile) -> Iterator[Finding]:
    """A literal list of choices, in any task, has no duplicates."""
    choices = file.data.get("doc_to_choice")
    seen: set[str] = set()
    for number, word in enumerate(choices if isinstance(choices, list) else []):
        if isinstance(word, str):
            if word in seen:
                yield file.finding("L02", ("doc_to_choice", number), f"`{word}` is listed twice: remove one of them")
            seen.add(word)


def _check_aliases(file: TaskFile) -> Iterator[Finding]:
    """An alias belongs to a known label, and to one only."""
    words = [label.word for label in _labels(file)]
    aliases = _aliases(file) if file.is_fin_task else {}
    for name, spellings in aliases.items():
        if name not in words:
            yield file.finding("L08", (*_ALIASES, name), f"`{name}` is not a label{did_you_mean(name, words)}")
        others = [word for word in words if word != name]
        others += [spelling for label, listed in aliases.items() if label < name for spelling in listed]
        for number, spelling in enumerate(spellings):
            key = (*_ALIASES, name, number)
            if not fold_label(spelling):
                yield file.finding("L05", key, f"`{spelling}` has no letter or digit, so no answer can name it")
            elif fold_label(spelling) in map(fold_label, others):
                message = f"`{spelling}` is an alias of `{name}` but also means another label"
                yield file.finding("L09", key, message)


def _labels(file: TaskFile) -> list[_Label]:
    """The words that the model is asked for; values that are not text are reported by the rules on keys."""
    labels = file.dataset_kwargs.get("labels") if file.is_fin_task else None
    items = labels.items() if isinstance(labels, dict) else enumerate(labels) if isinstance(labels, list) else ()
    return [_Label((*_LABELS, name), word) for name, word in items if isinstance(word, str)]


def _aliases(file: TaskFile) -> dict[str, list[str]]:
    aliases = file.dataset_kwargs.get("aliases")
    items = aliases.items() if isinstance(aliases, dict) else ()
    return {
        name: [spelling for spelling in listed if isinstance(spelling, str)]
        for name, listed in items
        if isinstance(listed, list)
    }


def _spellings(file: TaskFile) -> dict[str, list[str]]:
    """The label words, each with its aliases."""
    aliases = _aliases(file)
    words = [label.word for label in _labels(file) if label.word.strip()]
    return {word: [word, *aliases.get(word, [])] for word in words}


def _instruction(file: TaskFile, key: str) -> str:
    template = file.data.get(key)
    return literal_text(template) if isinstance(template, str) and not isinstance(template, Function) else ""


def _occurs(word: str, text: str) -> bool:
    return re.search(_pattern(word), text, re.IGNORECASE) is not None


def _pattern(word: str) -> str:
    return rf"(?<!\w){re.escape(word)}(?!\w)"


def _foreign_words(text: str, words: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Words in an enumeration of labels that are not labels: between two labels, or after the last `or`."""
    spellings = sorted((spelling for listed in words.values() for spelling in listed), key=len, reverse=True)
    masked = re.sub("|".join(map(_pattern, spellings)), _LABEL_MARK, text, flags=re.IGNORECASE)
    for sentence in _SENTENCE_END.split(masked):
        parts = _SEPARATOR.split(sentence)
        items = [_ARTICLE.sub("", item.strip(_QUOTES)).strip(_QUOTES) for item in parts[::2]]
        marks = [number for number, item in enumerate(items) if item == _LABEL_MARK]
        if len(marks) < 2:
            continue
        for number, item in enumerate(items):
            is_between = marks[0] < number < marks[-1]
            follows_or = number - 1 in marks and parts[2 * number - 1].casefold().endswith("or")
            is_last = number == len(items) - 1 and follows_or
            if item and _LABEL_MARK not in item and (is_between or is_last) and len(item.split()) < 3:
                yield item
