"""The page in Chromium: sorting, filters, comparison of two models, documents, print, dark mode, accessibility."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from fin_plugins.board.board_data import METRICS, Board, Contrast
from fin_plugins.board.rendering.display_text import interval, p_value, percent
from fin_plugins.board.rendering.html_page import encode_answers
from fin_plugins.board.rendering.layout import build_blocks
from fin_plugins.common.markdown import single_line
from tests.board import boards

FIRST = ".block >> nth=0"
SHOWN = f"{FIRST} >> .metric:visible"


def order(page: Any, place: int, body: int = 0) -> list[float]:
    """A column of the first block's visible table, from top to bottom, with nan for missing figures."""
    return page.locator(SHOWN).evaluate(
        """(box, [place, body]) => [...box.querySelector('table').tBodies[body].rows]
        .filter(row => !row.matches('.apart')).map(row => Number(row.cells[place].dataset.v ?? NaN))""",
        [place, body],
    )


def visible(page: Any, selector: str) -> list[str]:
    return [text.strip() for text in page.locator(f"{selector}:visible").all_inner_texts()]


def test_header_click_sorts_and_reverses(open_page: Any) -> None:
    page = open_page()
    heads = page.locator(f"{SHOWN} >> thead th")
    last = heads.count() - 1  # the column with a limit, which half of the models have not run
    heads.nth(last).locator("button").click()
    values = order(page, last)
    known = [value for value in values if not math.isnan(value)]
    assert 0 < len(known) < len(values)
    assert values[: len(known)] == sorted(known, reverse=True), "what has no figure comes last"
    assert heads.nth(last).get_attribute("aria-sort") == "descending"
    assert page.locator(f"{SHOWN} >> [aria-sort]").count() == 1
    heads.nth(last).locator("button").click()
    values = order(page, last)
    assert values[: len(known)] == sorted(known), "and comes last in this order too"
    assert heads.nth(last).get_attribute("aria-sort") == "ascending"


def test_sorting_works_from_the_keyboard_and_by_name(open_page: Any) -> None:
    page = open_page()
    page.locator(f"{SHOWN} >> thead th button").first.focus()
    page.keyboard.press("Enter")
    names = visible(page, f"{SHOWN} >> tbody:not(.published) .name")
    assert names == sorted(names) and len(names) == 4


def test_sorting_keeps_published_rows_apart(open_page: Any) -> None:
    page = open_page()
    before = visible(page, f"{SHOWN} >> .published .name")
    for place in range(page.locator(f"{SHOWN} >> thead th").count()):
        page.locator(f"{SHOWN} >> thead th button").nth(place).click()
        assert sorted(visible(page, f"{SHOWN} >> .published .name")) == sorted(before) != []
        assert all("published" in text for text in visible(page, f"{SHOWN} >> .published .name"))
        assert page.locator(f"{SHOWN} >> tbody:not(.published) tr").count() == 4


def test_the_metric_switch_keeps_the_sorted_column(open_page: Any) -> None:
    page = open_page()
    page.locator(f"{SHOWN} >> thead th button").nth(4).click()
    page.locator("#metric-weighted_f1").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#metric-macro_f1").is_checked()
    assert [text.split("\n")[0] for text in visible(page, f"{FIRST} >> caption")] == ["Macro F1"]
    values = order(page, 4)
    assert values == sorted(values, reverse=True)


def test_filters_hide_models_columns_and_blocks(open_page: Any) -> None:
    page = open_page()
    assert page.locator("#status").inner_text() == "4 models on 10 columns shown."
    page.fill("#filter-model", "FOM")
    assert set(visible(page, ".block tbody:not(.published) .name")) == {"fomc"}
    assert page.locator("#status").inner_text() == "1 model on 10 columns shown."
    page.fill("#filter-model", "")
    page.select_option("#filter-task", "fin_deal")
    titles = [text.split("\n")[0].strip() for text in visible(page, ".block thead th")]
    assert {title.split("\u00a0")[0].split(" (")[0] for title in titles} == {"Model", "deal"}
    page.select_option("#filter-task", "")
    page.select_option("#filter-protocol", "gen")
    assert visible(page, ".block h3") == ["Real data, by written answer"]
    page.select_option("#filter-protocol", "")
    page.select_option("#filter-data", "sample")
    assert visible(page, ".block h3") == ["Sample data, by label likelihood"]
    assert page.locator("#status").inner_text() == "4 models on 1 column shown."


def test_published_rows_can_be_hidden(open_page: Any) -> None:
    page = open_page()
    assert page.locator(".published:visible").count() > 0
    page.uncheck("#with-published")
    assert page.locator(".published:visible").count() == 0


def test_without_script(open_page: Any, full_board: Board) -> None:
    page = open_page(java_script_enabled=False)
    tables = page.locator("#tables table:visible")
    assert tables.count() == len(build_blocks(full_board)) == 3
    texts = tables.first.inner_text()
    for row in build_blocks(full_board)[0].tables[METRICS.index("weighted_f1")].rows:
        assert all(percent(cell.estimate.value) in texts for cell in row.cells if cell)
    page.locator("label:has(#metric-mcc)").click()
    assert visible(page, ".block caption")[0].startswith("MCC")
    assert page.locator("[data-script]:visible, button:visible").count() == 0


def compare(page: Any, first: str, second: str, metric: str = "Accuracy") -> dict[str, list[str]]:
    """Cells of the comparison of two models, by column name and protocol."""
    page.select_option("#first", label=first)
    page.select_option("#second", label=second)
    page.select_option("#pair-metric", label=metric)
    rows = page.locator("#pair-result tbody tr").evaluate_all(
        """rows => rows.map(row => [...row.cells].map(cell => cell.querySelector('small') === null ? cell.textContent
        : [...cell.children].filter(one => !one.matches('svg')).map(one => one.textContent).join('|')))"""
    )
    return {row[0]: row[1:] for row in rows}


def find_contrast(full_board: Board, key: str, first: str, second: str) -> Contrast:
    return next(
        contrast
        for contrast in full_board.contrasts
        if (contrast.column, contrast.first, contrast.second) == (key, first, second)
    )


def test_two_models_show_the_boards_contrast_in_either_order(open_page: Any, full_board: Board) -> None:
    page = open_page()
    contrast = find_contrast(full_board, "fin_fpb", "multi-task", "fomc")
    change = contrast.differences["acc"]
    row = compare(page, "multi-task", "fomc")["fpb|by label likelihood"]
    assert row[2] == f"{percent(change.value, signed=True)}|{interval(change, signed=True)}"
    assert [int(row[4]), int(row[5])] == [contrast.only_first, contrast.only_second]
    assert sum(map(int, row[3:7])) == contrast.n
    assert row[7:] == [p_value(contrast.p), p_value(contrast.p_holm), percent(contrast.detectable)]
    page.click("#swap")
    assert page.locator("#first option:checked").inner_text() == "fomc"
    swapped = compare(page, "fomc", "multi-task")["fpb|by label likelihood"]
    assert change.low is not None and change.high is not None
    ends = [percent(-end, signed=True) for end in (change.value, change.high, change.low)]
    assert swapped[2] == f"{ends[0]}|{ends[1]} to {ends[2]}"
    assert [int(swapped[4]), int(swapped[5])] == [contrast.only_second, contrast.only_first]
    assert swapped[7:] == row[7:]


def test_two_models_without_a_contrast_get_counts_and_the_exact_test(open_page: Any, full_board: Board) -> None:
    page = open_page()
    column = full_board.columns[-1]
    assert not any(first.column == column.key for first in full_board.contrasts)
    first, second = (entry.documents for entry in column.entries)
    assert first is not None and second is not None
    first_correct, second_correct = first.gold == first.answers, second.gold == second.answers
    counts = [
        np.sum(first_correct & second_correct),
        np.sum(first_correct & ~second_correct),
        np.sum(~first_correct & second_correct),
        np.sum(~first_correct & ~second_correct),
    ]
    rows = compare(page, column.entries[0].model, column.entries[1].model)
    row = next(cells for name, cells in rows.items() if name.startswith("deal (10 documents only)"))
    assert row[3:7] == [str(count) for count in counts]
    assert row[7] == p_value(binomtest(int(counts[1]), int(counts[1] + counts[2])).pvalue)
    assert row[8:] == ["–", "–"] and row[2].endswith("|no interval")
    assert "p is not corrected" in page.locator("#pair-result").inner_text()


def test_a_model_without_samples_has_figures_and_no_test(open_page: Any) -> None:
    page = open_page()
    row = compare(page, "base", "sentiment")["deal|by written answer"]
    assert row[3:] == ["–"] * 7 and row[2].endswith("|no interval") and row[0] != "–" != row[1]
    page.select_option("#second", label="base")
    assert page.locator("#pair-result").inner_text() == "Choose two different models."


@pytest.mark.parametrize("pair", [(0, 0), (1, 0), (3, 9), (57, 57), (900, 1100), (4000, 4300)])
def test_exact_test_agrees_with_scipy(open_page: Any, pair: tuple[int, int]) -> None:
    expected = binomtest(pair[0], sum(pair)).pvalue if sum(pair) else 1.0
    assert open_page("empty").evaluate("pair => mcnemar(...pair)", list(pair)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_answers_are_decoded(open_page: Any, width: int) -> None:
    answers = [-3, -1, -2, 0, 1, 60, *([61, 62, 4092] if width > 1 else []), *([70_000] if width > 2 else [])]
    read = open_page("empty").evaluate(
        "([text, width]) => decode(text, width)", [encode_answers(answers, width), width]
    )
    assert [code - 3 if code > 2 else {0: -3, 1: -1, 2: -2}[code] for code in read] == answers


SHOWN = ".block >> nth=0 >> .metric:visible"


def test_names_and_texts_stay_text(open_page: Any) -> None:
    page = open_page("hostile")
    title = page.title()
    for box in page.locator("details").all():
        box.evaluate("box => box.open = true")
    page.wait_for_selector(".documents li")
    for number, name in enumerate(boards.HOSTILE_NAMES, start=1):
        page.select_option("#second", index=number)
        assert page.locator("#pair-result caption").inner_text() == f"Weighted F1: {single_line(name)} minus base"
    assert page.locator("img, iframe, object, b b").count() == 0
    assert page.locator("script").count() == 2, "the data and the page's own"
    assert page.title() == title
    assert any(boards.SCRIPT in text for text in page.locator(".name").all_text_contents())
    assert any(boards.SCRIPT in text for text in page.locator(".documents p").all_text_contents())


def test_link_unfolds_the_model(open_page: Any) -> None:
    page = open_page("hostile")
    name = page.locator(f"{SHOWN} >> .name").first
    target = page.locator(name.get_attribute("href"))
    assert target.get_attribute("open") is None
    name.click()
    assert target.get_attribute("open") is not None
    assert target.locator("summary h3").inner_text() == name.inner_text()


def test_wrong_documents_are_paged(open_page: Any) -> None:
    page = open_page("hostile")
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
    texts = box.locator("li").all_inner_texts()
    for number, text in zip(wrong, texts, strict=True):
        assert documents.texts[number] in text and documents.replies[number] in text
        assert f"Gold: {entry.labels[documents.gold[number]]}," in text


def test_pages_of_documents(open_page: Any) -> None:
    page = open_page("hostile")
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


def test_dark_mode(open_page: Any) -> None:
    shade = "getComputedStyle(document.documentElement).backgroundColor.match(/[0-9]+/g).map(Number)[0]"
    assert open_page(color_scheme="light").evaluate(shade) > 240
    assert open_page(color_scheme="dark").evaluate(shade) < 40


@pytest.mark.parametrize("name", ["board", "hostile", "empty"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_only_tables_scroll_sideways(open_page: Any, name: str, width: int) -> None:
    page = open_page(name, viewport={"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width


def test_model_name_stays_visible(open_page: Any) -> None:
    page = open_page(viewport={"width": 390, "height": 800})
    page.locator(SHOWN).evaluate("box => box.scrollLeft = 300")
    places = page.locator(f"{SHOWN} >> tbody th").first.bounding_box()
    assert places is not None and 0 <= places["x"] < 30


def test_print_has_tables_without_controls(open_page: Any) -> None:
    page = open_page()
    page.emulate_media(media="print")
    assert page.locator("#controls:visible, #pair:visible, nav:visible").count() == 0
    assert page.locator("#tables table:visible").count() == 3
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("th button").count() == 0 and "fpb" in page.locator(f"{SHOWN} >> thead").inner_text()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("th button").count() > 0


def test_accessible_names(open_page: Any) -> None:
    page = open_page()
    snapshot = page.locator("body").aria_snapshot()
    for name in ('searchbox "Model"', 'combobox "Task"', 'radio "Macro F1"', 'button "fpb"', 'combobox "Second"',
                 'button "Swap the two models"', 'rowheader "fomc', "main:", "navigation"):  # fmt: skip
        assert name in snapshot
    levels = [
        int(tag[1]) for tag in page.locator("h1, h2, h3, h4").evaluate_all("all => all.map(one => one.localName)")
    ]
    assert levels[0] == 1 and all(after - before <= 1 for before, after in pairwise(levels))
    assert page.locator("table:not(:has(caption))").count() == 0
    assert page.locator("th:not([scope])").count() == 0
