"""Tests of Markdown from untrusted text."""

from hypothesis import given
from hypothesis import strategies as st

from fin_plugins.common.markdown import escape, inline_code, number, single_line, table, table_cell


def test_markup_and_html_are_escaped() -> None:
    assert escape("a*b_c<br>") == r"a\*b\_c&lt;br&gt;"


def test_backticks_do_not_end_inline_code() -> None:
    assert inline_code("a`b") == "``a`b``"
    assert inline_code("") == "` `"


@given(st.text())
def test_a_cell_stays_one_cell_on_one_line(text: str) -> None:
    rendered = table(["name"], [[table_cell(text)]])
    assert len(rendered.splitlines()) == 3
    assert rendered.splitlines()[2].replace(r"\|", "").count("|") == 2


def test_single_line_drops_control_characters() -> None:
    assert single_line("a\x1b[31m\nb") == "a [31m b"


def test_numbers() -> None:
    assert [number(0.12345), number(None), number(float("nan")), number(2, 1)] == ["0.1235", "–", "–", "2.0"]


def test_a_table_aligns_columns() -> None:
    assert table(["a", "b"], [["1", "2"]], "lr") == "| a | b |\n| --- | ---: |\n| 1 | 2 |\n"
