r"""`board.md` and `board.tex`: the board's tables for repositories, chats and papers.

`board.tex` is for `\input` and only needs the packages `booktabs` and `textcomp`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fin_plugins.board.board_data import Board, Estimate
from fin_plugins.board.rendering import display_text
from fin_plugins.board.rendering.display_text import METRIC_NAMES, NO_FIGURE, PROTOCOL_NAMES, percent, with_interval
from fin_plugins.board.rendering.layout import (
    Block,
    CellView,
    HeaderView,
    Table,
    build_blocks,
    column_floors,
    reader_contrasts,
    unmatched_published,
)
from fin_plugins.common.markdown import single_line
from fin_plugins.common.model_card import render_markdown

_TEMPLATE = Path(__file__).parent / "templates" / "board.md.jinja"
_MAX_NAME_LENGTH = 40
_MEAN_TITLES = {"all": "Mean", "seen": "Seen", "unseen": "Unseen"}
_LATEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"{\textquotesingle}",
    "`": r"{\textasciigrave}",
    "–": r"\textendash{}",
    "−": "$-$",
    "’": "'",
    **{char: rf"\{char}" for char in "&%$#_{}"},
    **{char: f"{{{char}}}" for char in "[]*"},  # at the start of a line they would be options of the line break before
}
# ASCII, Western European letters, which LaTeX reads from UTF-8 without a package, and what is replaced above.
_LATEX_CHARS = r" -~À-ÖØ-öø-ÿ–−’"
_LATEX_PARTS = re.compile(rf"[{_LATEX_CHARS}]+|[^{_LATEX_CHARS}]+")
_LATEX_HEADER = r"""% Made by `fin board`. In the preamble: \usepackage{booktabs,textcomp} and, for pdflatex,
% \usepackage[T1]{fontenc}.
% Characters that the standard fonts lack are written as their code, for example U+05DE.
"""


def markdown_text(board: Board) -> str:
    """The content of `board.md`. Names from others become code or plain words, never markup, HTML or line breaks."""
    filters: dict[str, Callable[..., str]] = {
        "count": display_text.count,
        "date": display_text.date,
        "p_value": display_text.p_value,
        "percent": percent,
        "figure_cell": markdown_figure,
        "with_interval": with_interval,
    }
    return render_markdown(
        _TEMPLATE,
        filters,
        board=board,
        blocks=build_blocks(board),
        columns=[(column, column_floors(board, column)) for column in board.columns],
        contrasts=reader_contrasts(board),
        groups=display_text.GROUP_NAMES,
        metrics=METRIC_NAMES,
        protocols=PROTOCOL_NAMES,
        protocol_sentences=display_text.PROTOCOL_SENTENCES,
        tests=board.tests or len(board.contrasts),
        unmatched=unmatched_published(board),
    )


def markdown_figure(cell: CellView | None) -> str:
    """A figure with its interval and marks, for a table cell."""
    if cell is None or cell.coverage:
        return NO_FIGURE
    parts = [with_interval(cell.estimate)]
    if cell.rank:
        parts.append(f"rank {display_text.rank_text(cell.rank)}")
    if cell.floor_side:
        parts.append(f"**{cell.floor_side} floor**")
    if cell.missing is not None:
        parts.append(f"**{percent(cell.missing)} % no label**")
    return ", ".join(parts)


def latex_text(board: Board) -> str:
    """The content of `board.tex`: a table for each block and metric, and one per protocol for gains and losses."""
    tables = [_metric_table(block, table) for block in build_blocks(board) for table in block.tables if table.rows]
    unmatched = [_unmatched_table(table) for table in unmatched_published(board)]
    return "\n".join([_LATEX_HEADER, *tables, *unmatched, *_forgetting_tables(board)])


def escape_latex(value: object) -> str:
    """The value as text that LaTeX prints unchanged; characters that its standard fonts lack become their code."""
    text = single_line(value)
    text = text if len(text) <= _MAX_NAME_LENGTH else text[: _MAX_NAME_LENGTH - 3] + "..."
    return "".join(_escape_part(part) for part in _LATEX_PARTS.findall(text))


def _escape_part(text: str) -> str:
    if not re.match(f"[{_LATEX_CHARS}]", text):
        return f"{{[}}{' '.join(f'U+{ord(char):04X}' for char in text)}{{]}}"
    # Consecutive hyphens would become a dash.
    return re.sub("-(?=-)", "-{}", "".join(_LATEX_ESCAPES.get(char, char) for char in text))


def _metric_table(block: Block, table: Table) -> str:
    caption = f"{_metric_title(table)}: {block.title}. Subscript and superscript: ends of the 95 % interval."
    lines = [rf"{escape_latex(row.model)} & {' & '.join(_cell(cell) for cell in row.cells)} \\" for row in table.rows]
    if table.published:
        lines.append(rf"\midrule \multicolumn{{{len(table.headers) + 1}}}{{l}}{{\emph{{Published, not run here}}}} \\")
    lines += _published_lines(table)
    marks = r" \dag: the interval does not lie above the floor. \ddag: more than 5\,\% of the answers name no label."
    headers = [_header(header) for header in table.headers]
    return _table(_caption(caption) + marks, f"{block.data}-{block.protocol}-{table.metric}", headers, lines)


def _unmatched_table(table: Table) -> str:
    caption = f"{_metric_title(table)}: published figures on complete data sets, not run here."
    headers = [_header(header) for header in table.headers]
    return _table(_caption(caption), f"published-{table.metric}", headers, list(_published_lines(table)))


def _metric_title(table: Table) -> str:
    return f"{METRIC_NAMES[table.metric]} {'times 100' if table.metric == 'mcc' else 'in percent'}"


def _published_lines(table: Table) -> Iterator[str]:
    for row in table.published:
        name = rf"\emph{{{escape_latex(row.published.model)}}}, {escape_latex(row.published.setting)}"
        yield rf"{name} & {' & '.join(_number(figure) for figure in row.figures)} \\"


def _caption(text: str) -> str:
    return text.replace("%", r"\%").replace("−", "$-$").replace("–", "--")


def _table(caption: str, label: str, headers: Sequence[str], lines: Sequence[str]) -> str:
    columns = "l" + "r" * len(headers)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\small\setlength{\tabcolsep}{4pt}\renewcommand{\arraystretch}{1.3}",
            rf"\caption{{{caption}}}",
            rf"\label{{tab:board-{re.sub('[^a-z0-9-]', '-', label)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            rf"Model & {' & '.join(headers)} \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _header(header: HeaderView) -> str:
    if header.group:
        return _MEAN_TITLES[header.group]
    limit = header.column.conditions.limit if header.column else None
    return escape_latex(header.title) + (rf" (limit {escape_latex(limit)})" if limit is not None else "")


def _cell(cell: CellView | None) -> str:
    if cell is None or cell.coverage:
        return "--"
    marks = (r"\dag" if cell.floor_side else "") + (r"\ddag" if cell.missing is not None else "")
    return _estimate(cell.estimate) + (f"{{{marks}}}" if marks else "")


def _estimate(estimate: Estimate | None, *, signed: bool = False) -> str:
    if estimate is None:
        return "--"
    if estimate.low is None or estimate.high is None:
        return _number(estimate.value, signed=signed)
    low, high = (percent(end, signed=signed).replace("−", "-") for end in (estimate.low, estimate.high))
    return f"{_number(estimate.value, signed=signed)}$_{{{low}}}^{{{high}}}$"


def _number(value: float | None, *, signed: bool = False) -> str:
    return percent(value, signed=signed).replace("−", "$-$").replace("–", "--")


def _forgetting_tables(board: Board) -> list[str]:
    headers = ("Gain on seen", "Share kept", "Change on unseen", "Worst change", "on")
    tables = []
    for protocol, title in PROTOCOL_NAMES.items():
        changes = [change for change in board.forgetting if change.protocol == protocol]
        if not changes:
            continue
        lines = [
            rf"{escape_latex(change.model)} & {_estimate(change.seen_gain, signed=True)} & {_estimate(change.kept)} & "
            rf"{_estimate(change.backward, signed=True)} & "
            rf"{_estimate(change.unseen.get(change.worst or ''), signed=True)} & "
            rf"{escape_latex(change.worst or NO_FIGURE)} \\"
            for change in changes
        ]
        metric = display_text.metric_name(changes[0].metric)
        caption = f"Gains and losses relative to {escape_latex(changes[0].baseline)}, {metric} in percent, {title}."
        tables.append(_table(caption, f"forgetting-{protocol}", headers, lines))
    return tables
