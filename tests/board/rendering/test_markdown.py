"""`board.md`: the tables as a Markdown reader shows them."""

import re
from pathlib import Path

from markdown_it import MarkdownIt

from fin_plugins.board.model import METRICS, Board
from fin_plugins.board.rendering.arrange import blocks
from fin_plugins.board.rendering.markdown import markdown, shown
from fin_plugins.board.rendering.wording import METRIC_NAMES, estimated


def tables(text: str) -> dict[str, list[list[str]]]:
    """Rows of the first table under each heading, as rendered; raw HTML would stay as a careless renderer leaves it."""
    html = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(text)
    parts = re.split(r"<h[23]>(.*?)</h[23]>", html)[1:]
    return {
        heading: [
            re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
            for row in re.findall(r"<tr>(.*?)</tr>", part, re.DOTALL)
        ]
        for heading, part in zip(parts[::2], parts[1::2], strict=True)
    }


def test_every_table_is_there_with_every_figure(made: Board) -> None:
    found = tables(markdown(made))
    for block in blocks(made):
        for table in block.tables:
            head, *rows = found[f"{METRIC_NAMES[table.metric]}, {block.title}"]
            assert len(head) == len(table.heads) + 1 and len(rows) == len(table.rows) + len(table.published)
            for row, own in zip(rows, table.rows, strict=False):
                assert row[0] == f"<code>{own.model}</code>"
                assert [re.sub("<.*?>", "**", cell) for cell in row[1:]] == [shown(cell) for cell in own.cells]
            assert all(row[0].startswith("<em>published:</em>") for row in rows[len(table.rows) :])


def test_contrasts_forgetting_and_remarks_are_there(made: Board) -> None:
    text = markdown(made)
    found = tables(text)
    assert len(found["Two models on the same documents"]) == len(made.contrasts) + 1
    first = made.contrasts[0]
    assert found["Two models on the same documents"][1][3] == estimated(first.differences["acc"], signed=True)
    assert [row[0] for row in found["Gained and lost, by label likelihood"][1:]] == [
        f"<code>{one.model}</code>" for one in made.forgetting if one.protocol == "choice"
    ]
    assert "cut off in the middle" in text and "older run: `base`" in text and f"{made.tests} tests" in text


def test_names_are_neither_markup_nor_html(folders: dict[str, Path]) -> None:
    text = (folders["hostile"] / "board.md").read_text(encoding="utf-8")
    html = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(text)
    assert "<script" not in html and "<img" not in html and "<b>" not in html
    found = tables(text)["Accuracy, Real data, by label likelihood"]
    assert {len(row) for row in found} == {len(found[0])} and len(found) == 5 + 2 + 1


def test_an_empty_board_says_why(folders: dict[str, Path]) -> None:
    assert "no result file" in (folders["empty"] / "board.md").read_text(encoding="utf-8")
    assert set(METRICS) == set(METRIC_NAMES)
