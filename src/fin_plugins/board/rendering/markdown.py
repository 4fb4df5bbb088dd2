"""`board.md`: the board's tables as Markdown, for a repository or a chat."""

from pathlib import Path

import jinja2

from fin_plugins.board.model import Board
from fin_plugins.board.rendering import wording
from fin_plugins.board.rendering.arrange import Shown, blocks, contrasts_read, floors_of
from fin_plugins.board.rendering.published import published_apart
from fin_plugins.common.markdown import escape, table_cell

_TEMPLATE = Path(__file__).parent / "templates" / "board.md.jinja"


def markdown(board: Board) -> str:
    """The text of the file. Names of others are put in as code or plain words: no markup, no HTML, no line breaks."""
    # No autoescape: this is Markdown, not HTML; the filters escape for it.
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701
    )
    environment.filters |= {
        "cell": table_cell,
        "count": wording.count,
        "date": wording.date,
        "estimated": wording.estimated,
        "p_value": wording.p_value,
        "percent": wording.percent,
        "shown": shown,
        "words": escape,
    }
    text = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        board=board,
        apart=published_apart(board),
        blocks=blocks(board),
        columns=[(column, floors_of(board, column)) for column in board.columns],
        contrasts=contrasts_read(board),
        groups=wording.GROUP_NAMES,
        metrics=wording.METRIC_NAMES,
        tests=board.tests or len(board.contrasts),
        protocols=wording.PROTOCOL_NAMES,
        protocol_sentences=wording.PROTOCOL_SENTENCES,
    )
    return text.rstrip() + "\n"


def shown(found: Shown | None) -> str:
    """A figure with its interval and marks, in a cell of a table."""
    if found is None or found.lost:
        return wording.NONE
    marks = [
        f"place {wording.place(found.rank)}" if found.rank else "",
        f"**{found.side} floor**" if found.side else "",
        f"**{wording.percent(found.missing)} % no label**" if found.missing is not None else "",
    ]
    return ", ".join([wording.estimated(found.estimate), *(mark for mark in marks if mark)])
