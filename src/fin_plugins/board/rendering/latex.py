r"""`board.tex`: every table of the board for a paper, to be taken with `\input`; needs the package `booktabs` only."""

import re
from collections.abc import Iterator, Sequence

from fin_plugins.board.model import Board, Estimate
from fin_plugins.board.rendering.arrange import Block, Head, Row, Shown, Table, blocks
from fin_plugins.board.rendering.published import published_apart
from fin_plugins.board.rendering.wording import METRIC_NAMES, PROTOCOL_NAMES, line, percent

_LONGEST = 40  # letters of a name
_MEANS = {"all": "Mean", "seen": "Seen", "unseen": "Unseen"}
_SPECIAL = {
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
    **{sign: rf"\{sign}" for sign in "&%$#_{}"},
    **{sign: f"{{{sign}}}" for sign in "[]*"},  # behind a line's end they would be its options
}
# ASCII, the letters of Western Europe, which LaTeX reads from UTF-8 by itself, and what is replaced.
_KNOWN = re.compile(r"[ -~À-ÖØ-öø-ÿ–−’]+")
_PARTS = re.compile(rf"{_KNOWN.pattern}|[^ -~À-ÖØ-öø-ÿ–−’]+")
_HEAD = r"""% Made by `fin board`. In the preamble: \usepackage{booktabs,textcomp} and, for pdflatex,
% \usepackage[T1]{fontenc}.
% Signs that the standard fonts lack are written as their code, as in U+05DE.
"""


def latex(board: Board) -> str:
    """The text of the file: a table for each block and metric, and one for what was forgotten."""
    parts = [_table(block, table) for block in blocks(board) for table in block.tables if table.rows]
    apart = [_apart(table) for table in published_apart(board)]
    return "\n".join([_HEAD, *parts, *apart, *_forgetting(board)])


def escape(value: object) -> str:
    """The value as text that LaTeX prints as it is; what its standard fonts lack by its code."""
    text = line(value)
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
    return "".join(_plain_signs(part) if _KNOWN.match(part) else _codes(part) for part in _PARTS.findall(text))


def _plain_signs(text: str) -> str:
    # Two hyphens on end would become a dash.
    return re.sub("-(?=-)", "-{}", "".join(_SPECIAL.get(sign, sign) for sign in text))


def _codes(text: str) -> str:
    return f"{{[}}{' '.join(f'U+{ord(sign):04X}' for sign in text)}{{]}}"


def _table(block: Block, table: Table) -> str:
    unit = "times 100" if table.metric == "mcc" else "in per cent"
    caption = f"{METRIC_NAMES[table.metric]} {unit}: {block.title}. Below and above: ends of the 95 % interval."
    lines = [_line(row) for row in table.rows]
    if table.published:
        lines.append(rf"\midrule \multicolumn{{{len(table.heads) + 1}}}{{l}}{{\emph{{Published, not run here}}}} \\")
    lines += _published(table)
    marks = r" \dag: the interval does not lie above the floor. \ddag: more than 5\,\% of the answers name no label."
    heads = [_head(head) for head in table.heads]
    return _wrap(_caption(caption) + marks, f"{block.data}-{block.protocol}-{table.metric}", heads, lines)


def _apart(table: Table) -> str:
    unit = "times 100" if table.metric == "mcc" else "in per cent"
    caption = f"{METRIC_NAMES[table.metric]} {unit}: published figures of whole data sets, not run here."
    heads = [_head(head) for head in table.heads]
    return _wrap(_caption(caption), f"published-{table.metric}", heads, list(_published(table)))


def _published(table: Table) -> Iterator[str]:
    for row in table.published:
        name = rf"\emph{{{escape(row.published.model)}}}, {escape(row.published.setting)}"
        yield rf"{name} & {' & '.join(_plain(figure) for figure in row.figures)} \\"


def _caption(text: str) -> str:
    return text.replace("%", r"\%").replace("−", "$-$").replace("–", "--")


def _wrap(caption: str, label: str, heads: Sequence[str], lines: Sequence[str]) -> str:
    columns = "l" + "r" * len(heads)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\small\setlength{\tabcolsep}{4pt}\renewcommand{\arraystretch}{1.3}",
            rf"\caption{{{caption}}}",
            rf"\label{{tab:board-{re.sub('[^a-z0-9-]', '-', label)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            rf"Model & {' & '.join(heads)} \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _head(head: Head) -> str:
    if head.group:
        return _MEANS[head.group]
    limit = head.column.conditions.limit if head.column else None
    return escape(head.title) + (rf" (limit {escape(limit)})" if limit is not None else "")


def _line(row: Row) -> str:
    return rf"{escape(row.model)} & {' & '.join(_shown(cell) for cell in row.cells)} \\"


def _shown(cell: Shown | None) -> str:
    if cell is None or cell.lost:
        return "--"
    marks = (r"\dag" if cell.side else "") + (r"\ddag" if cell.missing is not None else "")
    return _estimate(cell.estimate) + (f"{{{marks}}}" if marks else "")


def _estimate(estimate: Estimate | None, *, signed: bool = False) -> str:
    if estimate is None:
        return "--"
    ends = [] if estimate.low is None or estimate.high is None else [estimate.low, estimate.high]
    if not ends:
        return _plain(estimate.value, signed=signed)
    low, high = (percent(end, signed=signed).replace("−", "-") for end in ends)
    return f"{_plain(estimate.value, signed=signed)}$_{{{low}}}^{{{high}}}$"


def _plain(value: float | None, *, signed: bool = False) -> str:
    return percent(value, signed=signed).replace("−", "$-$").replace("–", "--")


def _forgetting(board: Board) -> list[str]:
    parts = []
    for protocol, title in PROTOCOL_NAMES.items():
        found = [one for one in board.forgetting if one.protocol == protocol]
        if not found:
            continue
        lines = [
            rf"{escape(one.model)} & {_estimate(one.seen_gain, signed=True)} & {_estimate(one.kept)} & "
            rf"{_estimate(one.backward, signed=True)} & "
            rf"{_estimate(one.unseen.get(one.worst or ''), signed=True)} & {escape(one.worst or '–')} \\"
            for one in found
        ]
        heads = ("Gain on seen", "Share kept", "Change on unseen", "Worst change", "on")
        name = METRIC_NAMES.get(found[0].metric, found[0].metric)
        caption = f"Gained and lost against {escape(found[0].baseline)}, {name} in per cent, {title}."
        parts.append(_wrap(caption, f"forgetting-{protocol}", heads, lines))
    return parts
