"""The page as HTML: complete, sorted by kind of data, self-contained, without injected markup."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import lxml.html
import numpy as np
import pytest

from fin_plugins.board import rendering
from fin_plugins.board.board_data import METRICS, Board, Cell, Column, Documents
from fin_plugins.board.rendering.display_text import METRIC_NAMES, interval, percent
from fin_plugins.board.rendering.html_page import answer_width, encode_answers, html_text, page_data
from fin_plugins.board.rendering.layout import build_blocks
from fin_plugins.board.rendering.write_board import DATA_FILES
from fin_plugins.common.markdown import single_line
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


@cache
def table_texts(html: Any, block: int, metric: str) -> dict[str, dict[str, str]]:
    """The cells of a table by model and column title."""
    table = html.cssselect(".block")[block].cssselect(f".{metric} table")[0]
    titles = [text((head.cssselect(".title") or [head])[0]) for head in table.cssselect("thead th")]
    rows = [row for row in table.cssselect("tbody tr") if row.cssselect(".name")]
    return {text(row.cssselect(".name")[0]): dict(zip(titles, map(text, row), strict=True)) for row in rows}


def cells(html: Any, block: int, metric: str, model: str) -> dict[str, str]:
    return table_texts(html, block, metric)[model]


def test_every_figure_is_in_its_table(html: Any, full_board: Board) -> None:
    seen = 0
    for number, block in enumerate(build_blocks(full_board)):
        for column in block.columns:
            for entry in column.entries:
                for metric in METRICS:
                    estimate = full_board.cells[column.key, entry.model].figures[metric]
                    cell_text = cells(html, number, metric, entry.model)[column.title]
                    assert percent(estimate.value) in cell_text
                    assert (interval(estimate) or "no interval") in cell_text
                    seen += 1
    assert seen == len(METRICS) * len(full_board.cells)


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


def test_marks(html: Any, full_board: Board) -> None:
    floors = missing = 0
    for number, block in enumerate(build_blocks(full_board)):
        for column in block.columns:
            for entry in column.entries:
                cell = full_board.cells[column.key, entry.model]
                cell_text = cells(html, number, "acc", entry.model)[column.title]
                unread = f"{percent(cell.figures['missing'].value)} % no label" if cell.many_missing else ""
                side = cell.floor_sides.get("acc")
                assert [word for word in ("at", "under") if f"{word} floor" in cell_text] == ([side] if side else [])
                assert unread in cell_text and ("no label" in cell_text) == bool(unread)
                floors, missing = floors + bool(side), missing + bool(unread)
    assert 0 < floors < len(full_board.cells) and 0 < missing < len(full_board.cells)


def test_limit_is_marked(html: Any) -> None:
    heads = [text(head) for head in html.cssselect(".metric.acc thead th") if "limit" in text(head)]
    assert heads == ["deal (10 documents only) unseen limit 10"]
    assert "Columns marked “limit” are over a part of the rows only." in text(html)


def test_a_mean_over_a_limited_column_is_marked_too(full_board: Board) -> None:
    conditions = replace(full_board.columns[0].conditions, limit="10")
    limited = replace(
        full_board, columns=(replace(full_board.columns[0], conditions=conditions), *full_board.columns[1:])
    )
    assert [head.is_limited for head in build_blocks(limited)[0].tables[0].headers if head.group] == [True, True, False]
    page = lxml.html.document_fromstring(html_text(limited, DATA_FILES))
    assert text(page.cssselect(".metric.acc .mean")[0]).endswith("data sets limit")


def test_partial_means_are_apart(html: Any, full_board: Board) -> None:
    cell_text = cells(html, 1, "acc", "multi-task")["Mean, unseen tasks"]
    assert cell_text == "–over 1 of 2"
    assert "multi-task, unseen tasks without fin_deal: Accuracy" in text(html.cssselect(".partial")[0])


def test_ranks_are_beside_their_mean(html: Any, full_board: Board) -> None:
    for rank in full_board.ranks:
        if rank.protocol == "choice":
            title = f"Mean, {rank.group} tasks"
            cell_text = cells(html, 0, rank.metric, rank.model)[title]
            assert cell_text.startswith(f"#{rank.rank} ({rank.low}–{rank.high})")
    alone = next(rank for rank in full_board.ranks if rank.low is None)
    mean = next(
        mean_
        for mean_ in full_board.means
        if (mean_.protocol, mean_.group, mean_.model) == ("gen", alone.group, alone.model)
    )
    cell_text = cells(html, 1, alone.metric, alone.model)[f"Mean, {alone.group} tasks"]
    assert cell_text == f"#{alone.rank} {percent(mean.figures[alone.metric].value)} no interval"


def test_published_rows_are_apart_and_marked(html: Any, full_board: Board) -> None:
    rows = [row for row in html.cssselect(".block tbody.published tr") if "apart" not in (row.get("class") or "")]
    assert rows and all(text(row).startswith("published ") for row in rows)
    assert not html.cssselect("tbody:not(.published) tr:contains('Paper-7B')")
    assert not html.cssselect("#compare :contains('Paper-7B'), #models :contains('Paper-7B')")
    assert not html.cssselect("[data-data=sample] .published")
    table = html.cssselect(".metric.acc table")[0]
    row = next(row for row in table.cssselect(".published tr") if "Paper-7B" in text(row))
    assert [text(cell) for cell in row][1:] == ["", "", "", "86.1", "", "", "", ""], "under fpb; not under a cut column"
    assert "arXiv 2411.02476, table 3" in text(html.cssselect("#remarks")[0])


def test_confusion_matrices_have_every_count(html: Any, full_board: Board) -> None:
    for place, column in enumerate(full_board.columns):
        for entry in column.entries:
            matrix = full_board.cells[column.key, entry.model].confusion
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


def test_floors_are_listed(html: Any, full_board: Board) -> None:
    row = next(row for row in html.cssselect("#columns tbody tr") if text(row[0]) == "fin_argument unseen")
    floors = full_board.cells["fin_argument", "base"].floors
    assert [text(cell) for cell in row][5:9] == [percent(floors[metric]) for metric in METRICS]


@pytest.mark.parametrize("name", ["board", "hostile", "empty"])
def test_page_is_self_contained(folders: dict[str, Path], name: str) -> None:
    html = read(folders[name])
    assert not html.cssselect("[src], link:not([href='data:,']), iframe, object, embed, form[action], base")
    links = {link.get("href") for link in html.cssselect("a")}
    assert {link for link in links if not link.startswith("#")} == set(DATA_FILES)
    anchors = {link[1:] for link in links if link.startswith("#")}
    assert anchors <= {element.get("id") for element in html.cssselect("[id]")}
    assert "url(" not in html.cssselect("style")[0].text and "@import" not in html.cssselect("style")[0].text


def test_policy_allows_only_the_page_script(html: Any, hostile: Any) -> None:
    for page in (html, hostile):
        policy = page.cssselect("meta[http-equiv=Content-Security-Policy]")[0].get("content")
        script = next(script for script in page.cssselect("script") if script.get("type") is None)
        digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
        assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}';" in policy
        assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]


def test_names_and_texts_never_become_markup(hostile: Any, folders: dict[str, Path]) -> None:
    assert len(hostile.cssselect("script")) == 2
    assert not hostile.cssselect("img, b > b, bdi > *")
    assert not [name for element in hostile.iter() for name in element.attrib if name.startswith("on")]
    names = [text(name) for name in hostile.cssselect("#models h3")]
    assert names == ["base", *map(single_line, boards.HOSTILE_NAMES)]
    source = (folders["hostile"] / "index.html").read_text(encoding="utf-8")
    assert "\u202e" not in source, "an override would turn round what stands beside it"
    assert source.count("</script") == 2


def test_documents_only_on_request(folders: dict[str, Path]) -> None:
    board = boards.hostile()
    without = html_text(board, DATA_FILES)
    assert "Document 1 of" not in without and "I say" not in without
    assert json.loads(read_data(without))["texts"] is None
    with_documents = (folders["hostile"] / "index.html").read_text(encoding="utf-8")
    assert "Their licences may forbid passing it on" in with_documents and "Their licences" not in without
    wrong = json.loads(read_data(with_documents))["texts"]
    assert 0 < len(wrong) < sum(len(column.entries[0].documents.hashes) for column in board.columns)  # type: ignore[union-attr]


def read_data(source: str) -> str:
    return lxml.html.document_fromstring(source).cssselect("#data")[0].text


def test_an_unknown_metric_leaves_no_empty_table(full_board: Board) -> None:
    column = full_board.columns[0]
    known = {place: only_accuracy(cell) for place, cell in full_board.cells.items() if place[0] == column.key}
    board = replace(boards.empty(), columns=(column,), cells=known)
    html = lxml.html.document_fromstring(html_text(board, DATA_FILES))
    assert html.cssselect("#metric-acc")[0].get("checked") is not None
    assert len(html.cssselect(".block table")) == 1
    assert "None of these runs has MCC." in text(html)


def only_accuracy(cell: Cell) -> Cell:
    return replace(cell, figures={"acc": cell.figures["acc"]}, floor_sides={}, confusion=None)


def test_colour_contrast() -> None:
    style = (Path(rendering.__file__).parent / "page.css").read_text(encoding="utf-8")
    for palette in re.findall(r":root \{(.*?)\}", style, flags=re.DOTALL)[:2]:
        colours = dict(re.findall(r"--(\w[\w-]*): (#\w+)", palette))
        for ink in ("ink", "muted", "accent", "warn"):
            for ground in ("paper", "raised", *(["warn-paper"] if ink == "warn" else [])):
                assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)


def contrast(first: str, second: str) -> float:
    """As the accessibility guidelines of the W3C define it."""
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_headings_skip_no_level(html: Any) -> None:
    levels = [int(head.tag[1]) for head in html.cssselect("h1, h2, h3, h4")]
    assert levels[0] == 1 and all(after - before <= 1 for before, after in pairwise(levels))


def test_metric_switch(html: Any) -> None:
    assert [text(label) for label in html.cssselect(".switch label")] == [METRIC_NAMES[metric] for metric in METRICS]
    assert [item.get("value") for item in html.cssselect("[name=metric][checked]")] == ["weighted_f1"]


def test_individual_notes_are_marked(full_board: Board) -> None:
    column = full_board.columns[0]
    noted = replace(column.entries[0], notes=("Truncated 3 documents.",))
    changed: Column = replace(column, entries=(noted, *column.entries[1:]))
    cell = replace(full_board.cells[column.key, noted.model], entry=noted)
    board = replace(
        full_board,
        columns=(changed, *full_board.columns[1:]),
        cells={**full_board.cells, (column.key, noted.model): cell},
    )
    html = lxml.html.document_fromstring(html_text(board, DATA_FILES))
    marks = html.cssselect(".metric.acc sup[title]")
    assert [mark.get("title") for mark in marks] == ["Truncated 3 documents."]


def decode(text: str, width: int, alphabet: str) -> list[int]:
    codes = [alphabet.index(sign) for sign in text]
    numbers = [codes[place : place + width] for place in range(0, len(codes), width)]
    return [sum(code * 64 ** (width - 1 - place) for place, code in enumerate(number)) - 3 for number in numbers]


@pytest.mark.parametrize(("labels", "width"), [(0, 1), (2, 1), (61, 1), (62, 2), (4093, 2), (4094, 3)])
def test_answer_width(labels: int, width: int) -> None:
    assert answer_width(labels) == width
    if labels:
        assert len(encode_answers([0, labels - 1], width)) == 2 * width


def test_answers_are_in_one_order(full_board: Board) -> None:
    column = full_board.columns[0]
    first, second, *rest = column.entries
    assert second.documents is not None and first.documents is not None
    reordered = second.documents
    reordered = Documents(reordered.hashes[::-1], reordered.gold[::-1].copy(), reordered.answers[::-1].copy())
    changed = replace(column, entries=(first, replace(second, documents=reordered), *rest))
    same, second = (
        page_data(replace(full_board, columns=(variant, *full_board.columns[1:])))["columns"][0]
        for variant in (column, changed)
    )
    assert second["answers"] == same["answers"]
    alphabet = page_data(full_board)["alphabet"]
    # No label (-1) and several labels (-2) have codes 1 and 2; see the module.
    assert [code if code >= 0 else -1 - (code + 2) % 2 for code in decode(same["answers"][0], 1, alphabet)] == (
        first.documents.answers.tolist()
    )
    assert decode(same["gold"], 1, alphabet) == first.documents.gold.tolist()


def test_missing_documents_are_marked(full_board: Board) -> None:
    column = full_board.columns[0]
    first = column.entries[0]
    assert first.documents is not None
    fewer = Documents(first.documents.hashes[2:], first.documents.gold[2:], first.documents.answers[2:])
    changed = replace(column, entries=(column.entries[1], replace(first, documents=fewer)))
    column_data = page_data(replace(full_board, columns=(changed, *full_board.columns[1:])))["columns"][0]
    encoded = next(answers for model, answers in column_data["answers"].items() if answers.startswith("AA"))
    assert len(encoded) == len(first.documents.hashes) and encoded.count("A") == 2


def test_texts_of_wrong_answers_only() -> None:
    board = boards.hostile()
    data = page_data(board, with_documents=True)
    assert len(set(data["texts"])) == len(data["texts"])
    for column, known in zip(board.columns, data["columns"], strict=True):
        wrong = np.zeros(len(known["texts"]), dtype=bool)
        for number, entry in enumerate(column.entries):
            documents = entry.documents
            if documents is not None:
                mistaken = documents.answers != documents.gold
                wrong |= mistaken
                if documents.replies is not None:
                    replies = known["replies"].get(number, {})
                    assert sorted(replies) == np.flatnonzero(mistaken).tolist()
                    assert all(documents.replies[place] == reply for place, reply in replies.items())
        assert [place is not None for place in known["texts"]] == wrong.tolist()
    assert page_data(board)["texts"] is None and "texts" not in page_data(board)["columns"][0]


def test_data_are_json_without_documents(full_board: Board) -> None:
    text = json.dumps(page_data(full_board), allow_nan=False)
    assert len(json.loads(text)["contrasts"]) == len(full_board.contrasts)
    entry = full_board.columns[0].entries[0]
    assert entry.documents is not None and entry.documents.hashes[0] not in text
