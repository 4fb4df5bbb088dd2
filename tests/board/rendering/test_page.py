"""What stands on the page, read as HTML: nothing is lost, nothing is mixed, nothing of others is code."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import lxml.html
import pytest

from fin_plugins.board import rendering
from fin_plugins.board.model import METRICS, Board, Cell, Column
from fin_plugins.board.rendering import FILES
from fin_plugins.board.rendering.arrange import blocks
from fin_plugins.board.rendering.page import page
from fin_plugins.board.rendering.wording import METRIC_NAMES, interval, line, percent
from tests.board import boards


@pytest.fixture(scope="module")
def html(folders: dict[str, Path]) -> Any:
    return read(folders["board"])


@pytest.fixture(scope="module")
def hostile(folders: dict[str, Path]) -> Any:
    return read(folders["hostile"])


def read(folder: Path) -> Any:
    return lxml.html.document_fromstring((folder / "index.html").read_bytes().decode())


def text(element: Any) -> str:
    return " ".join(element.text_content().split())


def cells(html: Any, block: int, metric: str, model: str) -> dict[str, str]:
    """A model's cells in a table by the columns' titles."""
    table = html.cssselect(".block")[block].cssselect(f".{metric} table")[0]
    titles = [text((head.cssselect(".title") or [head])[0]) for head in table.cssselect("thead th")]
    row = next(row for row in table.cssselect("tbody tr") if [text(name) for name in row.cssselect(".name")] == [model])
    return dict(zip(titles, map(text, row), strict=True))


def test_every_figure_stands_in_its_table_with_its_interval(html: Any, made: Board) -> None:
    seen = 0
    for number, block in enumerate(blocks(made)):
        for column in block.columns:
            for entry in column.entries:
                for metric in METRICS:
                    estimate = made.cells[column.key, entry.model].figures[metric]
                    shown = cells(html, number, metric, entry.model)[column.title]
                    assert percent(estimate.value) in shown
                    assert (interval(estimate) or "no interval") in shown
                    seen += 1
    assert seen == len(METRICS) * len(made.cells)


def test_real_and_sample_data_never_share_a_table(html: Any) -> None:
    titles = [text(head) for head in html.cssselect(".block h3")]
    assert titles == [
        "Real data, by label likelihood",
        "Real data, by written answer",
        "Sample data, by label likelihood",
    ]
    for block in html.cssselect(".block"):
        is_sample = block.get("data-data") == "sample"
        assert bool(block.cssselect(".badge.warn:contains(sample)")) == is_sample
        assert ("say nothing about a model's quality" in text(block)) == is_sample


def test_marks_stand_where_they_belong_and_nowhere_else(html: Any, made: Board) -> None:
    floors = missing = 0
    for number, block in enumerate(blocks(made)):
        for column in block.columns:
            for entry in column.entries:
                cell = made.cells[column.key, entry.model]
                shown = cells(html, number, "acc", entry.model)[column.title]
                unread = f"{percent(cell.figures['missing'].value)} % no label" if cell.many_missing else ""
                side = cell.not_above.get("acc")
                assert [word for word in ("at", "under") if f"{word} floor" in shown] == ([side] if side else [])
                assert unread in shown and ("no label" in shown) == bool(unread)
                floors, missing = floors + bool(side), missing + bool(unread)
    assert 0 < floors < len(made.cells) and 0 < missing < len(made.cells)


def test_a_limit_is_marked_in_the_head_and_in_words(html: Any) -> None:
    heads = [text(head) for head in html.cssselect(".metric.acc thead th") if "limit" in text(head)]
    assert heads == ["deal (10 documents only) unseen limit 10"]
    assert "Columns marked “limit” are over a part of the rows only." in text(html)


def test_a_mean_over_a_limited_column_is_marked_too(made: Board) -> None:
    held = replace(made.columns[0].conditions, limit="10")
    limited = replace(made, columns=(replace(made.columns[0], conditions=held), *made.columns[1:]))
    assert [head.is_limited for head in blocks(limited)[0].tables[0].heads if head.group] == [True, True, False]
    shown = lxml.html.document_fromstring(page(limited, FILES))
    assert text(shown.cssselect(".metric.acc .mean")[0]).endswith("data sets limit")


def test_a_mean_over_a_part_of_its_group_stands_apart(html: Any, made: Board) -> None:
    shown = cells(html, 1, "acc", "multi-task")["Mean, unseen tasks"]
    assert shown == "–over 1 of 2"
    assert "multi-task, unseen tasks without fin_deal: Accuracy" in text(html.cssselect(".partial")[0])


def test_places_stand_beside_their_mean(html: Any, made: Board) -> None:
    for rank in made.ranks:
        if rank.protocol == "choice":
            title = f"Mean, {rank.group} tasks"
            shown = cells(html, 0, rank.metric, rank.model)[title]
            assert shown.startswith(f"#{rank.rank} ({rank.low}–{rank.high})")
    alone = next(rank for rank in made.ranks if rank.low is None)
    mean = next(one for one in made.means if (one.protocol, one.group, one.model) == ("gen", alone.group, alone.model))
    shown = cells(html, 1, alone.metric, alone.model)[f"Mean, {alone.group} tasks"]
    assert shown == f"#{alone.rank} {percent(mean.figures[alone.metric].value)} no interval"


def test_published_rows_are_apart_and_marked(html: Any, made: Board) -> None:
    rows = [row for row in html.cssselect(".block tbody.published tr") if "apart" not in (row.get("class") or "")]
    assert rows and all(text(row).startswith("published ") for row in rows)
    assert not html.cssselect("tbody:not(.published) tr:contains('Paper-7B')")
    assert not html.cssselect("#compare :contains('Paper-7B'), #models :contains('Paper-7B')")
    assert not html.cssselect("[data-data=sample] .published")
    table = html.cssselect(".metric.acc table")[0]
    row = next(row for row in table.cssselect(".published tr") if "Paper-7B" in text(row))
    assert [text(cell) for cell in row][1:] == ["", "", "", "86.1", "", "", "", ""], "under fpb; not under a cut column"
    assert "arXiv 2411.02476, table 3" in text(html.cssselect("#remarks")[0])


def test_confusion_matrices_have_every_count(html: Any, made: Board) -> None:
    for place, column in enumerate(made.columns):
        for entry in column.entries:
            matrix = made.cells[column.key, entry.model].confusion
            boxes = html.cssselect(f"#models .answers[data-column='{place}']")
            box = next(box for box in boxes if model_of(box) == entry.model)
            if matrix is None:
                assert "no sample file" in text(box)
                continue
            rows = [[text(cell) or "0" for cell in row.cssselect("td")] for row in box.cssselect("tbody tr")]
            counts = matrix if matrix[:, -1].any() else matrix[:, :-1]
            assert rows == [[str(count) for count in row] for row in counts.tolist()]


def model_of(box: Any) -> str:
    return text(next(box.iterancestors("details")).cssselect("h3")[0]) if not in_matrix(box) else ""


def in_matrix(box: Any) -> bool:
    return next(box.iterancestors("details")).get("class") != "model"


def test_problems_and_older_runs_are_listed(html: Any) -> None:
    remarks = text(html.cssselect("#remarks")[0])
    assert "error runs/broken.json: cut off in the middle: left out" in remarks
    assert "base on fin_fpb, by label likelihood, 2025-10-09 08:53 UTC" in remarks


def test_floors_stand_as_figures_too(html: Any, made: Board) -> None:
    row = next(row for row in html.cssselect("#columns tbody tr") if text(row[0]) == "fin_argument unseen")
    floors = made.cells["fin_argument", "base"].floors
    assert [text(cell) for cell in row][5:9] == [percent(floors[metric]) for metric in METRICS]


@pytest.mark.parametrize("name", ["board", "hostile", "empty"])
def test_the_page_stands_alone(folders: dict[str, Path], name: str) -> None:
    html = read(folders[name])
    assert not html.cssselect("[src], link:not([href='data:,']), iframe, object, embed, form[action], base")
    links = {link.get("href") for link in html.cssselect("a")}
    assert {link for link in links if not link.startswith("#")} == set(FILES)
    anchors = {link[1:] for link in links if link.startswith("#")}
    assert anchors <= {element.get("id") for element in html.cssselect("[id]")}
    assert "url(" not in html.cssselect("style")[0].text and "@import" not in html.cssselect("style")[0].text


def test_the_policy_lets_only_the_pages_own_script_run(html: Any, hostile: Any) -> None:
    for one in (html, hostile):
        policy = one.cssselect("meta[http-equiv=Content-Security-Policy]")[0].get("content")
        script = next(script for script in one.cssselect("script") if script.get("type") is None)
        digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
        assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}';" in policy
        assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]


def test_no_name_and_no_text_becomes_markup(hostile: Any, folders: dict[str, Path]) -> None:
    assert len(hostile.cssselect("script")) == 2
    assert not hostile.cssselect("img, b > b, bdi > *")
    assert not [name for element in hostile.iter() for name in element.attrib if name.startswith("on")]
    names = [text(name) for name in hostile.cssselect("#models h3")]
    assert names == ["base", *map(line, boards.HOSTILE)]
    source = (folders["hostile"] / "index.html").read_text(encoding="utf-8")
    assert "\u202e" not in source, "an override would turn round what stands beside it"
    assert source.count("</script") == 2


def test_documents_are_on_the_page_only_where_they_were_asked_for(folders: dict[str, Path]) -> None:
    board = boards.hostile()
    without = page(board, FILES)
    assert "Document 1 of" not in without and "I say" not in without
    assert json.loads(read_data(without))["texts"] is None
    held = (folders["hostile"] / "index.html").read_text(encoding="utf-8")
    assert "Their licences may forbid passing it on" in held and "Their licences" not in without
    wrong = json.loads(read_data(held))["texts"]
    assert 0 < len(wrong) < sum(len(column.entries[0].documents.hashes) for column in board.columns)  # type: ignore[union-attr]


def read_data(source: str) -> str:
    return lxml.html.document_fromstring(source).cssselect("#data")[0].text


def test_an_unknown_metric_leaves_no_empty_table(made: Board) -> None:
    column = made.columns[0]
    known = {place: only_accuracy(cell) for place, cell in made.cells.items() if place[0] == column.key}
    board = replace(boards.empty(), columns=(column,), cells=known)
    html = lxml.html.document_fromstring(page(board, FILES))
    assert html.cssselect("#metric-acc")[0].get("checked") is not None
    assert len(html.cssselect(".block table")) == 1
    assert "MCC is not known of any of these runs." in text(html)


def only_accuracy(cell: Cell) -> Cell:
    return replace(cell, figures={"acc": cell.figures["acc"]}, not_above={}, confusion=None)


def test_colours_can_be_read_in_light_and_dark() -> None:
    style = (Path(rendering.__file__).parent / "page.css").read_text(encoding="utf-8")
    for palette in re.findall(r":root \{(.*?)\}", style, flags=re.DOTALL)[:2]:
        colours = dict(re.findall(r"--(\w[\w-]*): (#\w+)", palette))
        for ink in ("ink", "muted", "accent", "warn"):
            for ground in ("paper", "raised", *(["warn-paper"] if ink == "warn" else [])):
                assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)


def contrast(one: str, other: str) -> float:
    """As the accessibility guidelines of the W3C define it."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_headings_leave_out_no_level(html: Any) -> None:
    levels = [int(head.tag[1]) for head in html.cssselect("h1, h2, h3, h4")]
    assert levels[0] == 1 and all(after - before <= 1 for before, after in pairwise(levels))


def test_every_metric_can_be_chosen(html: Any) -> None:
    assert [text(label) for label in html.cssselect(".switch label")] == [METRIC_NAMES[metric] for metric in METRICS]
    assert [one.get("value") for one in html.cssselect("[name=metric][checked]")] == ["weighted_f1"]


def test_entries_with_a_note_of_their_own_are_marked(made: Board) -> None:
    column = made.columns[0]
    noted = replace(column.entries[0], notes=("Truncated 3 documents.",))
    changed: Column = replace(column, entries=(noted, *column.entries[1:]))
    cell = replace(made.cells[column.key, noted.model], entry=noted)
    board = replace(made, columns=(changed, *made.columns[1:]), cells={**made.cells, (column.key, noted.model): cell})
    html = lxml.html.document_fromstring(page(board, FILES))
    marks = html.cssselect(".metric.acc sup[title]")
    assert [mark.get("title") for mark in marks] == ["Truncated 3 documents."]
