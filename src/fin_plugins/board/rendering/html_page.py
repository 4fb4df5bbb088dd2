"""`index.html`: one HTML file that contains everything, makes no request, and works without its script.

Names and texts come from others. Three things keep them from becoming code: the templates escape what they insert; the
data are in a JSON block without any `<`; and a content security policy only lets the page's own script run, identified
by its hash, and nothing be fetched.

The script gets each answer as characters of a 64-character alphabet, one for up to 61 labels: 0 the model lacks the
document, 1 no label named, 2 several, 3 and up the labels.
"""

import base64
import hashlib
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from fin_plugins.board.board_data import METRICS, Board, Cell, Column, Contrast, Documents, Entry, Estimate
from fin_plugins.board.rendering import display_text, page_plots
from fin_plugins.board.rendering.display_text import DATA_NAMES, METRIC_NAMES, PROTOCOL_NAMES
from fin_plugins.board.rendering.layout import (
    Block,
    build_blocks,
    column_floors,
    listed_contrasts,
    model_order,
    unmatched_published,
)
from fin_plugins.common.markdown import single_line

LARGE_MATRIX = 6  # labels from which on a confusion matrix is folded away and its headers are vertical
_FOLDER = Path(__file__).parent
_ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
_NO_DOCUMENT = -3
_FIRST_LABEL = 3
_DECIMALS = 5  # of a share: more than a page shows
_DOCUMENTS_NOTICE = (
    "This page contains texts of the data sets (--with-documents). Their licences may forbid passing it on: read them "
    "first."
)
_SAMPLE_NOTICE = (
    "Sample data, a few rows written for trying things out, are in separate tables below the real data: they say "
    "nothing about a model's quality."
)
_LIMIT_NOTICE = "Columns marked “limit” are over a part of the rows only."


@dataclass(frozen=True)
class MatrixCell:
    """A cell of a confusion matrix: documents, their share of the gold label's, whether the answer is correct."""

    documents: int
    share: float
    is_correct: bool


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix, with a last column for answers outside the label set if there are any.

    Attributes:
        answers: column headers.
        rows: gold label and cells.
        is_large: too large to be shown beside others.
    """

    answers: tuple[str, ...]
    rows: tuple[tuple[str, tuple[MatrixCell, ...]], ...]
    is_large: bool


@dataclass(frozen=True)
class ModelResult:
    """A model on one column; `index` is the column's position on the board."""

    index: int
    column: Column
    cell: Cell
    matrix: Matrix | None

    @property
    def is_folded(self) -> bool:
        """Whether the matrix is too large to be shown without unfolding it."""
        return self.matrix is not None and self.matrix.is_large


@dataclass(frozen=True)
class ModelView:
    """One model. Its anchor on the page is its number, because names may contain any characters."""

    number: int
    name: str
    base: str | None
    results: tuple[ModelResult, ...]


def html_text(board: Board, files: Sequence[str], *, with_documents: bool = False) -> str:
    """The content of the page.

    Args:
        board: the board.
        files: names of the other output files, to link to.
        with_documents: include the documents that a model answered wrongly.
    """
    script = _read("page.js")
    blocks = build_blocks(board)
    models = model_order(board)
    context: dict[str, Any] = {
        "board": board,
        "blocks": blocks,
        "columns": [(column, column_floors(board, column)) for column in board.columns],
        "contrasts": listed_contrasts(board),
        "data": page_data(board, with_documents=with_documents),
        "data_names": DATA_NAMES,
        "files": files,
        "forgetting": _forgetting_views(board),
        "group_names": display_text.GROUP_NAMES,
        "main_metric": display_text.main_metric(board),
        "metrics": METRIC_NAMES,
        "models": [_model_view(board, number, model) for number, model in enumerate(models)],
        "notices": _notices(blocks, with_documents),
        "numbers": {model: number for number, model in enumerate(models)},
        "plot_height": page_plots.HEIGHT,
        "plot_width": page_plots.WIDTH,
        "protocol_sentences": display_text.PROTOCOL_SENTENCES,
        "protocols": PROTOCOL_NAMES,
        "rates": display_text.RATE_NAMES,
        "script": Markup(script),  # noqa: S704 - our own file
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "style": Markup(_read("page.css")),  # noqa: S704 - our own file
        "summary": _summary(board),
        "tasks": list(dict.fromkeys(column.task for column in board.columns)),
        "tests": board.tests or len(board.contrasts),
        "unmatched": unmatched_published(board),
    }
    return _environment().get_template("index.html.jinja").render(context)


def page_data(board: Board, *, with_documents: bool = False) -> dict[str, Any]:
    """What the script needs beyond the tables, in JSON types; models and columns are given by number."""
    models = {model: number for number, model in enumerate(model_order(board))}
    column_numbers = {column.key: number for number, column in enumerate(board.columns)}
    texts: dict[str, int] = {}
    return {
        "alphabet": _ALPHABET,
        "metrics": METRIC_NAMES,
        "models": [single_line(model) for model in models],
        "columns": [_column_data(board, column, models, texts if with_documents else None) for column in board.columns],
        "contrasts": [_contrast_data(contrast, column_numbers, models) for contrast in board.contrasts],
        "texts": list(texts) if with_documents else None,
    }


def encode_answers(answers: Sequence[int], width: int) -> str:
    """Answers as text, `width` characters each, the most significant first."""
    codes = (answer + _FIRST_LABEL if answer >= 0 else {_NO_DOCUMENT: 0, -1: 1, -2: 2}[answer] for answer in answers)
    powers = [64**power for power in reversed(range(width))]
    return "".join(_ALPHABET[code // power % 64] for code in codes for power in powers)


def answer_width(labels: int) -> int:
    """Characters that an answer takes."""
    width = 1
    while 64**width < labels + _FIRST_LABEL:
        width += 1
    return width


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_clean,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    environment.filters |= {
        "count": display_text.count,
        "date": display_text.date,
        "interval": display_text.interval,
        "p_value": display_text.p_value,
        "percent": display_text.percent,
        "rank_text": display_text.rank_text,
        "scales": page_plots.table_scales,
        "tick": lambda value: f"{100 * value:g}".replace("-", display_text.MINUS),
        "with_interval": display_text.with_interval,
    }
    return environment


def _clean(value: Any) -> Any:
    """Text without control characters; markup and other values unchanged."""
    return display_text.printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8").strip()


def _summary(board: Board) -> str:
    if not board.columns:
        return "no results"
    tasks = {column.task for column in board.columns}
    parts = (len(model_order(board)), "model"), (len(tasks), "task"), (len(board.columns), "column")
    return ", ".join(display_text.count(number, noun) for number, noun in parts)


def _notices(blocks: Sequence[Block], with_documents: bool) -> list[str]:
    kinds = {block.data for block in blocks}
    has_limit = any(column.conditions.limit is not None for block in blocks for column in block.columns)
    notices = {_DOCUMENTS_NOTICE: with_documents, _SAMPLE_NOTICE: {"sample", "real"} <= kinds, _LIMIT_NOTICE: has_limit}
    return [notice for notice, applies in notices.items() if applies]


def _forgetting_views(board: Board) -> list[dict[str, Any]]:
    """For each protocol: its models, the plot, and the unseen columns in it."""
    titles = {column.key: column.title for column in board.columns}
    views = []
    for protocol, title in PROTOCOL_NAMES.items():
        changes = [change for change in board.forgetting if change.protocol == protocol]
        if not changes:
            continue
        rows = [change for change in changes if change.seen_gain or change.backward or change.unseen]
        estimates = [
            estimate for row in rows for estimate in (row.seen_gain, row.backward, *row.unseen.values())
        ]  # fmt: skip
        views.append(
            {
                "title": title[0].upper() + title[1:],
                "metric": display_text.metric_name(changes[0].metric),
                "unseen": {key: titles.get(key, key) for row in rows for key in row.unseen},
                "rows": rows,
                "without_figures": [change.model for change in changes if change not in rows],
                "plot": page_plots.plot_changes(rows),
                "scale": page_plots.difference_scale(estimates),
            }
        )
    return views


def _model_view(board: Board, number: int, model: str) -> ModelView:
    results = tuple(
        ModelResult(index, column, cell, _matrix(cell))
        for index, column in enumerate(board.columns)
        if (cell := board.cells.get((column.key, model))) is not None
    )
    base = next((result.cell.entry.base for result in results if result.cell.entry.base), None)
    return ModelView(number, model, base, results)


def _matrix(cell: Cell) -> Matrix | None:
    if cell.confusion is None:
        return None
    labels = cell.entry.labels
    has_outside = bool(cell.confusion[:, -1].any())
    rows = []
    for gold, label in enumerate(labels):
        counts = cell.confusion[gold]
        total = max(int(counts.sum()), 1)
        visible = (counts if has_outside else counts[:-1]).tolist()
        cells = tuple(
            MatrixCell(number, round(number / total, 2), answer == gold) for answer, number in enumerate(visible)
        )
        rows.append((label, cells))
    answers = (*labels, "no single label") if has_outside else labels
    return Matrix(answers, tuple(rows), len(labels) > LARGE_MATRIX)


def _column_data(board: Board, column: Column, models: dict[str, int], texts: dict[str, int] | None) -> dict[str, Any]:
    entries = [entry for entry in column.entries if entry.model in models]
    documented = [(models[entry.model], entry.documents) for entry in entries if entry.documents is not None]
    order = tuple(dict.fromkeys(document for _, documents in documented for document in documents.hashes))
    labels = max((entry.labels for entry in entries), key=len, default=())
    width = answer_width(len(labels))
    gold = {
        document: label
        for _, documents in documented
        for document, label in zip(documents.hashes, documents.gold.tolist(), strict=True)
    }
    data: dict[str, Any] = {
        "title": single_line(column.title),
        "about": _about(column),
        "labels": [single_line(label) for label in labels],
        "width": width,
        "gold": encode_answers([gold[document] for document in order], width),
        "answers": {
            number: encode_answers(_answers_in_order(documents, order), width) for number, documents in documented
        },
        "figures": {models[entry.model]: _figures_data(board, column, entry) for entry in entries},
    }
    return data if texts is None else data | _documents_data(documented, order, texts)


def _about(column: Column) -> str:
    conditions = column.conditions
    kind = "" if conditions.data == "real" else DATA_NAMES.get(conditions.data, conditions.data).lower()
    limit = f"limit {conditions.limit}" if conditions.limit is not None else ""
    return ", ".join(filter(None, (PROTOCOL_NAMES[column.protocol], single_line(kind), single_line(limit))))


def _answers_in_order(documents: Documents, order: Sequence[str]) -> list[int]:
    answers = dict(zip(documents.hashes, documents.answers.tolist(), strict=True))
    return [answers.get(document, _NO_DOCUMENT) for document in order]


def _figures_data(board: Board, column: Column, entry: Entry) -> list[float | None]:
    figures = board.cells[column.key, entry.model].figures
    return [_rounded(figures[metric].value) if metric in figures else None for metric in METRICS]


def _contrast_data(contrast: Contrast, column_numbers: dict[str, int], models: dict[str, int]) -> list[Any]:
    """Column, first, second, p, p after Holm, detectable, and value, low and high by metric."""
    differences = [_estimate_data(contrast.differences.get(metric)) for metric in METRICS]
    numbers = [float(f"{number:.4g}") for number in (contrast.p, contrast.p_holm, contrast.detectable)]
    return [column_numbers[contrast.column], models[contrast.first], models[contrast.second], *numbers, differences]


def _estimate_data(estimate: Estimate | None) -> list[float | None] | None:
    return None if estimate is None else [_rounded(end) for end in (estimate.value, estimate.low, estimate.high)]


def _rounded(value: float | None) -> float | None:
    return None if value is None or value != value else round(value, _DECIMALS)


def _documents_data(
    documented: Sequence[tuple[int, Documents]], order: Sequence[str], texts: dict[str, int]
) -> dict[str, Any]:
    """Number of the text by document, and replies by model, of documents that a model answered wrongly."""
    indices = {document: index for index, document in enumerate(order)}
    text_numbers: list[int | None] = [None] * len(order)
    replies: dict[int, dict[int, str]] = {}
    for model, documents in documented:
        for number in (documents.answers != documents.gold).nonzero()[0].tolist():
            index = indices[documents.hashes[number]]
            if documents.texts is not None:
                text_numbers[index] = texts.setdefault(documents.texts[number], len(texts))
            if documents.replies is not None:
                replies.setdefault(model, {})[index] = documents.replies[number]
    return {"texts": text_numbers, "replies": replies}
