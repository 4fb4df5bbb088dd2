"""`board.md` as a Markdown renderer shows it, and the rules of `board.tex`."""

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from fin_plugins.board.board_data import METRICS, Board
from fin_plugins.board.rendering.display_text import METRIC_NAMES, with_interval
from fin_plugins.board.rendering.document_tables import escape_latex, latex_text, markdown_figure, markdown_text
from fin_plugins.board.rendering.layout import build_blocks
from tests.board import boards


def tables(text: str) -> dict[str, list[list[str]]]:
    """Rows of the first table under each heading, rendered without sanitizing raw HTML."""
    html = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(text)
    parts = re.split(r"<h[23]>(.*?)</h[23]>", html)[1:]
    return {
        heading: [
            re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
            for row in re.findall(r"<tr>(.*?)</tr>", part, re.DOTALL)
        ]
        for heading, part in zip(parts[::2], parts[1::2], strict=True)
    }


def test_markdown_has_every_figure(full_board: Board) -> None:
    rendered = tables(markdown_text(full_board))
    for block in build_blocks(full_board):
        for table in block.tables:
            head, *rows = rendered[f"{METRIC_NAMES[table.metric]}, {block.title}"]
            assert len(head) == len(table.headers) + 1 and len(rows) == len(table.rows) + len(table.published)
            for row, model_row in zip(rows, table.rows, strict=False):
                assert row[0] == f"<code>{model_row.model}</code>"
                assert [re.sub("<.*?>", "**", cell) for cell in row[1:]] == [
                    markdown_figure(cell) for cell in model_row.cells
                ]
            assert all(row[0].startswith("<em>published:</em>") for row in rows[len(table.rows) :])


def test_markdown_has_contrasts_forgetting_and_remarks(full_board: Board) -> None:
    text = markdown_text(full_board)
    rendered = tables(text)
    assert len(rendered["Two models on the same documents"]) == len(full_board.contrasts) + 1
    first = full_board.contrasts[0]
    assert rendered["Two models on the same documents"][1][3] == with_interval(first.differences["acc"], signed=True)
    assert [row[0] for row in rendered["Gains and losses, by label likelihood"][1:]] == [
        f"<code>{change.model}</code>" for change in full_board.forgetting if change.protocol == "choice"
    ]
    assert "cut off in the middle" in text and "older run: `base`" in text and f"{full_board.tests} tests" in text


def test_names_are_neither_markup_nor_html(folders: dict[str, Path]) -> None:
    text = (folders["hostile"] / "board.md").read_text(encoding="utf-8")
    html = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(text)
    assert "<script" not in html and "<img" not in html and "<b>" not in html
    rendered = tables(text)["Accuracy, Real data, by label likelihood"]
    assert {len(row) for row in rendered} == {len(rendered[0])} and len(rendered) == 5 + 2 + 1


def test_empty_board_lists_the_problem(folders: dict[str, Path]) -> None:
    assert "no result file" in (folders["empty"] / "board.md").read_text(encoding="utf-8")
    assert set(METRICS) == set(METRIC_NAMES)


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("50% & more_$x$ #1 {a}", r"50\% \& more\_\$x\$ \#1 \{a\}"),
        (r"\input{/etc/passwd}", r"\textbackslash{}input\{/etc/passwd\}"),
        ("a--b---c", "a-{}-b-{}-{}-c"),
        ("~^<>|\"'`", r"\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}\textbar{}\textquotedbl{}"
                      r"{\textquotesingle}{\textasciigrave}"),
        ("[10pt] *", "{[}10pt{]} {*}"),
        ("Müller – é", r"Müller \textendash{} é"),
        ("של m", "{[}U+05E9 U+05DC{]} m"),
        ("x" * 300, "x" * 37 + "..."),
    ],
)  # fmt: skip
def test_names_are_printed_unchanged(name: str, printed: str) -> None:
    assert escape_latex(name) == printed


def test_no_line_begins_with_an_option(full_board: Board) -> None:
    text = latex_text(boards.hostile())
    assert re.search(r"\\\\\s*[\[*]", text) is None
    assert all(ord(sign) < 0x250 for sign in text), "only signs that pdflatex reads by itself"


def test_every_table_has_as_many_cells_as_columns(full_board: Board) -> None:
    for board in (full_board, boards.hostile()):
        text = latex_text(board)
        tables = re.findall(r"\\begin\{tabular\}\{(l[lr]+)\}(.*?)\\end\{tabular\}", text, re.DOTALL)
        assert len(tables) == 4 * len(build_blocks(board)) + 2
        for columns, body in tables:
            rows = [row for row in body.splitlines() if row.endswith(r"\\") and r"\multicolumn" not in row]
            assert rows and {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(columns) - 1}
        assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_figures_have_intervals_and_marks(full_board: Board) -> None:
    text = latex_text(full_board)
    cell = full_board.cells["fin_argument", "fomc"]
    estimate = cell.figures["acc"]
    assert estimate.low is not None and estimate.high is not None and "acc" in cell.floor_sides
    assert rf"{100 * estimate.value:.1f}$_{{{100 * estimate.low:.1f}}}^{{{100 * estimate.high:.1f}}}${{\dag}}" in text
    assert r"\ddag}" in text and r"\emph{Published, not run here}" in text
    assert len(re.findall(r"\\label\{(.*?)\}", text)) == len(set(re.findall(r"\\label\{(.*?)\}", text)))
