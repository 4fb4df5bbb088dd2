"""What the page's script needs and its tables do not say: answers, contrasts and, where asked for, documents.

An answer is one sign of a 64-sign alphabet, so that a thousand of them take a kilobyte: 0 the model has no such
document, 1 no label named, 2 several, 3 and up the labels. Beyond 61 labels an answer is two signs, and so on.
"""

import string
from collections.abc import Sequence
from typing import Any

from fin_plugins.board.model import METRICS, Board, Column, Contrast, Documents, Entry, Estimate
from fin_plugins.board.rendering.arrange import models_of
from fin_plugins.board.rendering.wording import DATA_NAMES, METRIC_NAMES, PROTOCOL_NAMES, line

_SIGNS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
_ABSENT = -3
_FIRST = -_ABSENT  # code of label 0
_DIGITS = 5  # of a share: finer than any page shows


def embedded(board: Board, *, with_documents: bool = False) -> dict[str, Any]:
    """The page's data, in JSON's types. Models are given by their number, columns by their place."""
    models = {model: number for number, model in enumerate(models_of(board))}
    places = {column.key: place for place, column in enumerate(board.columns)}
    texts: dict[str, int] = {}
    columns = [_column(board, column, models, texts if with_documents else None) for column in board.columns]
    return {
        "alphabet": _SIGNS,
        "metrics": METRIC_NAMES,
        "models": [line(model) for model in models],
        "columns": columns,
        "contrasts": [_contrast(one, places, models) for one in board.contrasts],
        "texts": list(texts) if with_documents else None,
    }


def encode(answers: Sequence[int], width: int) -> str:
    """Answers as signs, `width` signs each, the most significant first."""
    codes = (answer + _FIRST if answer >= 0 else {_ABSENT: 0, -1: 1, -2: 2}[answer] for answer in answers)
    powers = [64**power for power in reversed(range(width))]
    return "".join(_SIGNS[code // power % 64] for code in codes for power in powers)


def width_for(labels: int) -> int:
    """Signs that an answer needs."""
    width = 1
    while 64**width < labels + _FIRST:
        width += 1
    return width


def _column(board: Board, column: Column, models: dict[str, int], texts: dict[str, int] | None) -> dict[str, Any]:
    entries = [entry for entry in column.entries if entry.model in models]
    documented = [(models[entry.model], entry, entry.documents) for entry in entries if entry.documents is not None]
    order = tuple(dict.fromkeys(one for _, _, documents in documented for one in documents.hashes))
    labels = max((entry.labels for entry in entries), key=len, default=())
    width = width_for(len(labels))
    gold = {
        one: label for _, _, found in documented for one, label in zip(found.hashes, found.gold.tolist(), strict=True)
    }
    made: dict[str, Any] = {
        "title": line(column.title),
        "about": _about(column),
        "labels": [line(label) for label in labels],
        "width": width,
        "gold": encode([gold[one] for one in order], width),
        "answers": {number: encode(_in_order(documents, order), width) for number, _, documents in documented},
        "figures": {models[entry.model]: _figures(board, column, entry) for entry in entries},
    }
    if texts is not None:
        made |= _documents([(number, documents) for number, _, documents in documented], order, texts)
    return made


def _about(column: Column) -> str:
    held = column.conditions
    kind = "" if held.data == "real" else DATA_NAMES.get(held.data, held.data).lower()
    limit = f"limit {held.limit}" if held.limit is not None else ""
    return ", ".join(filter(None, (PROTOCOL_NAMES[column.protocol], line(kind), line(limit))))


def _in_order(documents: Documents, order: Sequence[str]) -> list[int]:
    known = dict(zip(documents.hashes, documents.answers.tolist(), strict=True))
    return [known.get(one, _ABSENT) for one in order]


def _figures(board: Board, column: Column, entry: Entry) -> list[float | None]:
    figures = board.cells[column.key, entry.model].figures
    return [_rounded(figures[metric].value) if metric in figures else None for metric in METRICS]


def _contrast(contrast: Contrast, places: dict[str, int], models: dict[str, int]) -> list[Any]:
    """Column, first, second, p, p after Holm, detectable, and value, low and high by metric."""
    differences = [_ends(contrast.differences.get(metric)) for metric in METRICS]
    numbers = [float(f"{number:.4g}") for number in (contrast.p, contrast.p_holm, contrast.detectable)]
    return [places[contrast.column], models[contrast.first], models[contrast.second], *numbers, differences]


def _ends(estimate: Estimate | None) -> list[float | None] | None:
    return None if estimate is None else [_rounded(one) for one in (estimate.value, estimate.low, estimate.high)]


def _rounded(value: float | None) -> float | None:
    return None if value is None or value != value else round(value, _DIGITS)


def _documents(
    documented: Sequence[tuple[int, Documents]], order: Sequence[str], texts: dict[str, int]
) -> dict[str, Any]:
    """Number of the text by document, and replies by model; only of documents that some model got wrong."""
    place = {one: number for number, one in enumerate(order)}
    shown: list[int | None] = [None] * len(order)
    replies: dict[int, dict[int, str]] = {}
    for model, documents in documented:
        for number in (documents.answers != documents.gold).nonzero()[0].tolist():
            where = place[documents.hashes[number]]
            if documents.texts is not None:
                shown[where] = texts.setdefault(documents.texts[number], len(texts))
            if documents.replies is not None:
                replies.setdefault(model, {})[where] = documents.replies[number]
    return {"texts": shown, "replies": replies}
