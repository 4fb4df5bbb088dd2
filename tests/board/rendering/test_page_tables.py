"""The tables of the page in a real Chromium: sorting, filters, the metric switch, and no script at all."""

import math
from typing import Any

from fin_plugins.board.model import METRICS, Board
from fin_plugins.board.rendering.arrange import blocks
from fin_plugins.board.rendering.wording import percent

FIRST = ".block >> nth=0"
SHOWN = f"{FIRST} >> .metric:visible"


def order(page: Any, place: int, body: int = 0) -> list[float]:
    """A column of the visible table of the first block, from top to bottom; nan where there is no figure."""
    return page.locator(SHOWN).evaluate(
        """(box, [place, body]) => [...box.querySelector('table').tBodies[body].rows]
        .filter(row => !row.matches('.apart')).map(row => Number(row.cells[place].dataset.v ?? NaN))""",
        [place, body],
    )


def visible(page: Any, selector: str) -> list[str]:
    return [text.strip() for text in page.locator(f"{selector}:visible").all_inner_texts()]


def test_a_click_on_a_head_sorts_and_a_second_turns_it_round(opened: Any) -> None:
    page = opened()
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


def test_sorting_works_from_the_keyboard_and_by_name(opened: Any) -> None:
    page = opened()
    page.locator(f"{SHOWN} >> thead th button").first.focus()
    page.keyboard.press("Enter")
    names = visible(page, f"{SHOWN} >> tbody:not(.published) .name")
    assert names == sorted(names) and len(names) == 4


def test_sorting_never_moves_a_published_row_among_ours(opened: Any) -> None:
    page = opened()
    before = visible(page, f"{SHOWN} >> .published .name")
    for place in range(page.locator(f"{SHOWN} >> thead th").count()):
        page.locator(f"{SHOWN} >> thead th button").nth(place).click()
        assert sorted(visible(page, f"{SHOWN} >> .published .name")) == sorted(before) != []
        assert all("published" in text for text in visible(page, f"{SHOWN} >> .published .name"))
        assert page.locator(f"{SHOWN} >> tbody:not(.published) tr").count() == 4


def test_the_metric_switch_keeps_the_sorted_column(opened: Any) -> None:
    page = opened()
    page.locator(f"{SHOWN} >> thead th button").nth(4).click()
    page.locator("#metric-weighted_f1").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#metric-macro_f1").is_checked()
    assert [text.split("\n")[0] for text in visible(page, f"{FIRST} >> caption")] == ["Macro F1"]
    values = order(page, 4)
    assert values == sorted(values, reverse=True)


def test_filters_hide_models_columns_and_blocks(opened: Any) -> None:
    page = opened()
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


def test_published_rows_can_be_put_away(opened: Any) -> None:
    page = opened()
    assert page.locator(".published:visible").count() > 0
    page.uncheck("#with-published")
    assert page.locator(".published:visible").count() == 0


def test_without_script_the_tables_are_there_and_the_metric_can_be_switched(opened: Any, made: Board) -> None:
    page = opened(java_script_enabled=False)
    tables = page.locator("#tables table:visible")
    assert tables.count() == len(blocks(made)) == 3
    shown = tables.first.inner_text()
    for row in blocks(made)[0].tables[METRICS.index("weighted_f1")].rows:
        assert all(percent(cell.estimate.value) in shown for cell in row.cells if cell)
    page.locator("label:has(#metric-mcc)").click()
    assert visible(page, ".block caption")[0].startswith("MCC")
    assert page.locator("[data-script]:visible, button:visible").count() == 0
