"""The page: one HTML file with everything in it, which asks for nothing and works without its script too.

Names and texts come from others. Three things keep them from becoming code: the templates escape all they show; the
data stand in a JSON block in which no `<` is left; and a policy in the head lets no script run but the page's own,
known by its hash, and nothing be fetched.
"""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from fin_plugins.board.model import Board, Forgetting
from fin_plugins.board.rendering import pareto, wording
from fin_plugins.board.rendering.arrange import Block, blocks, contrasts_listed, floors_of, models_of
from fin_plugins.board.rendering.bars import scale_of, scales
from fin_plugins.board.rendering.embedded import embedded
from fin_plugins.board.rendering.models import model_views
from fin_plugins.board.rendering.published import published_apart

_HERE = Path(__file__).parent
_DOCUMENTS = (
    "This page holds texts of the data sets (--with-documents). Their licences may forbid passing it on: read them "
    "first."
)
_SAMPLE = (
    "Sample data, a few rows written to try things out, stand in tables of their own below the real ones: they say "
    "nothing about a model's quality."
)


def page(board: Board, files: Sequence[str], *, with_documents: bool = False) -> str:
    """The page as text.

    Args:
        board: what it shows.
        files: names of the other outputs, which it links to.
        with_documents: also the documents that a model got wrong.
    """
    script = _read("page.js")
    shown = blocks(board)
    return (
        _environment()
        .get_template("index.html.jinja")
        .render(
            board=board,
            apart=published_apart(board),
            blocks=shown,
            contrasts=contrasts_listed(board),
            tests=board.tests or len(board.contrasts),
            columns=[(column, floors_of(board, column)) for column in board.columns],
            data=embedded(board, with_documents=with_documents),
            files=files,
            forgetting=_forgetting(board),
            main_metric=wording.main_metric(board),
            models=model_views(board),
            notices=_notices(shown, with_documents),
            numbers={model: number for number, model in enumerate(models_of(board))},
            script=Markup(script),  # noqa: S704 - our own file
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            style=Markup(_read("page.css")),  # noqa: S704 - our own file
            summary=_summary(board),
            tasks=list(dict.fromkeys(column.task for column in board.columns)),
            **_NAMES,
        )
    )


_NAMES: dict[str, Any] = {
    "data_names": wording.DATA_NAMES,
    "group_names": wording.GROUP_NAMES,
    "metrics": wording.METRIC_NAMES,
    "plot_height": pareto.HEIGHT,
    "plot_width": pareto.WIDTH,
    "protocol_sentences": wording.PROTOCOL_SENTENCES,
    "protocols": wording.PROTOCOL_NAMES,
    "rates": wording.RATE_NAMES,
}


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_clean,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    environment.filters |= {
        "count": wording.count,
        "date": wording.date,
        "estimated": wording.estimated,
        "interval": wording.interval,
        "p_value": wording.p_value,
        "percent": wording.percent,
        "place": wording.place,
        "scales": scales,
        "tick": lambda value: f"{100 * value:g}".replace("-", wording.MINUS),
    }
    return environment


def _clean(value: Any) -> Any:
    """Whatever a template puts in: text of others without control signs, what is already markup as it is."""
    return wording.printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8").strip()


def _summary(board: Board) -> str:
    if not board.columns:
        return "no results"
    tasks = {column.task for column in board.columns}
    parts = (len(models_of(board)), "model"), (len(tasks), "task"), (len(board.columns), "column")
    return ", ".join(wording.count(number, noun) for number, noun in parts)


def _notices(shown: Sequence[Block], with_documents: bool) -> list[str]:
    kinds = {block.data for block in shown}
    limited = any(column.conditions.limit is not None for block in shown for column in block.columns)
    return [
        *([_DOCUMENTS] if with_documents else []),
        *([_SAMPLE] if {"sample", "real"} <= kinds else []),
        *(["Columns marked “limit” are over a part of the rows only."] if limited else []),
    ]


def _forgetting(board: Board) -> list[dict[str, Any]]:
    """For each protocol: its models, the plot, and the unseen columns that it names."""
    parts = []
    for protocol, title in wording.PROTOCOL_NAMES.items():
        found = [one for one in board.forgetting if one.protocol == protocol]
        if found:
            parts.append({"title": title[0].upper() + title[1:], **_part(board, found)})
    return parts


def _part(board: Board, found: Sequence[Forgetting]) -> dict[str, Any]:
    titles = {column.key: column.title for column in board.columns}
    rows = [one for one in found if one.seen_gain or one.backward or one.unseen]
    return {
        "metric": wording.name_of(found[0].metric),
        "unseen": {key: titles.get(key, key) for one in rows for key in one.unseen},
        "rows": rows,
        "bare": [one.model for one in found if one not in rows],
        "plot": pareto.plot(rows),
        "scale": _scale(rows),
    }


def _scale(rows: Sequence[Forgetting]) -> Any:
    return scale_of([one for row in rows for one in (row.seen_gain, row.backward, *row.unseen.values())])
