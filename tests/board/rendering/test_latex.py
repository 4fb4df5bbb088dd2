"""`board.tex`: tables that a paper can take in, whatever the names. Compiled by hand once; here are its rules."""

import re

import pytest

from fin_plugins.board.model import Board
from fin_plugins.board.rendering.arrange import blocks
from fin_plugins.board.rendering.latex import escape, latex
from tests.board import boards


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
def test_a_name_is_printed_as_it_is(name: str, printed: str) -> None:
    assert escape(name) == printed


def test_a_line_never_begins_with_what_would_be_an_option(made: Board) -> None:
    text = latex(boards.hostile())
    assert re.search(r"\\\\\s*[\[*]", text) is None
    assert all(ord(sign) < 0x250 for sign in text), "only signs that pdflatex reads by itself"


def test_every_table_has_as_many_cells_as_columns(made: Board) -> None:
    for board in (made, boards.hostile()):
        text = latex(board)
        tables = re.findall(r"\\begin\{tabular\}\{(l[lr]+)\}(.*?)\\end\{tabular\}", text, re.DOTALL)
        assert len(tables) == 4 * len(blocks(board)) + 2
        for columns, body in tables:
            rows = [row for row in body.splitlines() if row.endswith(r"\\") and r"\multicolumn" not in row]
            assert rows and {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(columns) - 1}
        assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_figures_have_intervals_and_marks(made: Board) -> None:
    text = latex(made)
    cell = made.cells["fin_argument", "fomc"]
    estimate = cell.figures["acc"]
    assert estimate.low is not None and estimate.high is not None and "acc" in cell.not_above
    assert rf"{100 * estimate.value:.1f}$_{{{100 * estimate.low:.1f}}}^{{{100 * estimate.high:.1f}}}${{\dag}}" in text
    assert r"\ddag}" in text and r"\emph{Published, not run here}" in text
    assert len(re.findall(r"\\label\{(.*?)\}", text)) == len(set(re.findall(r"\\label\{(.*?)\}", text)))
