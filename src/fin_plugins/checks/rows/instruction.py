"""The labels that the instruction names, against those of the list."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fin_plugins.checks.model import Finding, Function, TaskFile
from fin_plugins.checks.rows.rendering import literal
from fin_plugins.common.validation import did_you_mean

_SENTENCE_END = re.compile(r"[.;:!?\n]|\{\}")
_BETWEEN = re.compile(r"(,\s*(?:or|and)\b|,|\bor\b|\band\b)", re.IGNORECASE)
_AROUND = " \t'\"`*()[]‘’“”"
_LEADING = re.compile(r"^(?:either|as|a|an|the)\s+", re.IGNORECASE)
_MARK = "\ue000"  # of the private use area: stands in no text


def check(file: TaskFile) -> Iterator[Finding]:
    """Rules P07 and P08."""
    words = _words(file)
    said = [(key, text) for key in ("description", "doc_to_text") if (text := _instruction(file.data.get(key)))]
    if not file.ours or len(words) < 2 or not said:
        return
    named = {word for word, spellings in words.items() if any(_stands(s, text) for s in spellings for _, text in said)}
    key = next((key for key, text in said if any(_stands(word, text) for word in named)), said[-1][0])
    missing = [word for word in words if word not in named]
    foreign = [word for _, text in said for word in _foreign(text, words)]
    if len(named) > 1 and foreign:
        listed = ", ".join(f"`{word}`{did_you_mean(word, words)}" for word in dict.fromkeys(foreign))
        yield file.finding("P08", (key,), f"the instruction offers what is no label: {listed}")
    if len(named) > 1 and missing:
        listed = ", ".join(f"`{word}`" for word in missing)
        message = f"the instruction names {len(named)} of {len(words)} labels; it leaves out {listed}"
        yield file.finding("P07", (key,), message)


def _words(file: TaskFile) -> dict[str, list[str]]:
    """Label words with their spellings."""
    settings = file.data.get("dataset_kwargs")
    settings = settings if isinstance(settings, dict) else {}
    labels, aliases = settings.get("labels"), settings.get("aliases")
    listed: Sequence[Any] = list(labels.values()) if isinstance(labels, dict) else labels or []
    if not isinstance(listed, list):
        return {}
    others: Mapping[Any, Any] = aliases if isinstance(aliases, dict) else {}
    words = [word for word in listed if isinstance(word, str) and word.strip()]
    return {word: [word, *_texts(others.get(word))] for word in words}


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _instruction(template: Any) -> str:
    if not isinstance(template, str) or isinstance(template, Function):
        return ""
    return literal(template)


def _stands(word: str, text: str) -> bool:
    return re.search(_whole(word), text, re.IGNORECASE) is not None


def _whole(word: str) -> str:
    return rf"(?<!\w){re.escape(word)}(?!\w)"


def _foreign(text: str, words: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """What stands in an enumeration of labels and is none: between two, or behind the last `or`."""
    spellings = sorted((s for listed in words.values() for s in listed), key=len, reverse=True)
    masked = re.sub("|".join(map(_whole, spellings)), _MARK, text, flags=re.IGNORECASE)
    for sentence in _SENTENCE_END.split(masked):
        parts = _BETWEEN.split(sentence)
        items = [_LEADING.sub("", item.strip(_AROUND)).strip(_AROUND) for item in parts[::2]]
        marks = [number for number, item in enumerate(items) if item == _MARK]
        if len(marks) < 2:
            continue
        for number, item in enumerate(items):
            between = marks[0] < number < marks[-1]
            last = number == len(items) - 1 and number - 1 in marks and parts[2 * number - 1].casefold().endswith("or")
            if item and _MARK not in item and (between or last) and len(item.split()) < 3:
                yield item
