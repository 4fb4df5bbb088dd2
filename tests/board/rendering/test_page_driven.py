"""The page in a real Chromium: names of others, documents, narrow screens, paper, dark, screen readers.

Each test that opens the page also fails if the page asks for anything or its console is not empty.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from fin_plugins.board.rendering.wording import line
from tests.board import boards

SHOWN = ".block >> nth=0 >> .metric:visible"


def test_names_and_texts_of_others_stay_text(opened: Any) -> None:
    page = opened("hostile")
    title = page.title()
    for box in page.locator("details").all():
        box.evaluate("box => box.open = true")
    page.wait_for_selector(".documents li")
    for number, name in enumerate(boards.HOSTILE, start=1):
        page.select_option("#second", index=number)
        assert page.locator("#pair-result caption").inner_text() == f"Weighted F1: {line(name)} less base"
    assert page.locator("img, iframe, object, b b").count() == 0
    assert page.locator("script").count() == 2, "the data and the page's own"
    assert page.title() == title
    assert any(boards.SCRIPT in text for text in page.locator(".name").all_text_contents())
    assert any(boards.SCRIPT in text for text in page.locator(".documents p").all_text_contents())


def test_a_link_to_a_model_unfolds_it(opened: Any) -> None:
    page = opened("hostile")
    name = page.locator(f"{SHOWN} >> .name").first
    target = page.locator(name.get_attribute("href"))
    assert target.get_attribute("open") is None
    name.click()
    assert target.get_attribute("open") is not None
    assert target.locator("summary h3").inner_text() == name.inner_text()


def test_wrong_documents_are_shown_a_page_at_a_time(opened: Any) -> None:
    page = opened("hostile")
    board = boards.hostile()
    entry = board.columns[3].entries[0]  # written answers, so with replies
    documents = entry.documents
    assert documents is not None and documents.texts is not None and documents.replies is not None
    wrong = np.flatnonzero(documents.gold != documents.answers).tolist()
    assert len(wrong) == 8
    page.evaluate("document.querySelector('#model-0').open = true")
    box = page.locator("#model-0 .answers[data-column='3'] > details").last
    assert box.locator("summary").inner_text() == "8 documents it got wrong"
    box.locator("summary").click()
    box.locator("li").first.wait_for()
    shown = box.locator("li").all_inner_texts()
    for number, text in zip(wrong, shown, strict=True):
        assert documents.texts[number] in text and documents.replies[number] in text
        assert f"Gold: {entry.labels[documents.gold[number]]}," in text


def test_pages_of_documents_can_be_turned(opened: Any) -> None:
    page = opened("hostile")
    page.evaluate("document.querySelector('#model-0').open = true")
    box = page.locator("#model-0 .answers[data-column='0'] > details")
    wrong = int(box.locator("summary").inner_text().removesuffix(" documents it got wrong"))
    assert 10 < wrong < 20
    box.locator("summary").click()
    box.locator("li").first.wait_for()
    assert box.locator("[role=status]").inner_text() == f"1–10 of {wrong}"
    first = box.locator("li").all_inner_texts()
    back, on = box.locator("button").all()
    assert back.is_disabled()
    on.click()
    assert box.locator("[role=status]").inner_text() == f"11–{wrong} of {wrong}"
    rest = box.locator("li").all_inner_texts()
    assert len(first) == 10 and len(rest) == wrong - 10 and not set(first) & set(rest)
    assert on.is_disabled()


def test_dark_where_the_reader_has_it_dark(opened: Any) -> None:
    shade = "getComputedStyle(document.documentElement).backgroundColor.match(/[0-9]+/g).map(Number)[0]"
    assert opened(color_scheme="light").evaluate(shade) > 240
    assert opened(color_scheme="dark").evaluate(shade) < 40


@pytest.mark.parametrize("name", ["board", "hostile", "empty"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_only_tables_scroll_sideways(opened: Any, name: str, width: int) -> None:
    page = opened(name, viewport={"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width


def test_the_models_name_stays_in_sight(opened: Any) -> None:
    page = opened(viewport={"width": 390, "height": 800})
    page.locator(SHOWN).evaluate("box => box.scrollLeft = 300")
    places = page.locator(f"{SHOWN} >> tbody th").first.bounding_box()
    assert places is not None and 0 <= places["x"] < 30


def test_on_paper_there_are_tables_and_no_controls(opened: Any) -> None:
    page = opened()
    page.emulate_media(media="print")
    assert page.locator("#controls:visible, #pair:visible, nav:visible").count() == 0
    assert page.locator("#tables table:visible").count() == 3
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("th button").count() == 0 and "fpb" in page.locator(f"{SHOWN} >> thead").inner_text()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("th button").count() > 0


def test_a_screen_reader_is_told_what_things_are(opened: Any) -> None:
    page = opened()
    snapshot = page.locator("body").aria_snapshot()
    for said in ('searchbox "Model"', 'combobox "Task"', 'radio "Macro F1"', 'button "fpb"', 'combobox "Second"',
                 'button "Swap the two models"', 'rowheader "fomc', "main:", "navigation"):  # fmt: skip
        assert said in snapshot
    levels = [
        int(tag[1]) for tag in page.locator("h1, h2, h3, h4").evaluate_all("all => all.map(one => one.localName)")
    ]
    assert levels[0] == 1 and all(after - before <= 1 for before, after in pairwise(levels))
    assert page.locator("table:not(:has(caption))").count() == 0
    assert page.locator("th:not([scope])").count() == 0
