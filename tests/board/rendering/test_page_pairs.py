"""The view of two models in a real Chromium: the board's contrast, or counts and the exact test made there."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from fin_plugins.board.model import Board, Contrast
from fin_plugins.board.rendering.embedded import encode
from fin_plugins.board.rendering.wording import interval, p_value, percent


def compare(page: Any, first: str, second: str, metric: str = "Accuracy") -> dict[str, list[str]]:
    """Cells of the view of two models, by the column's name and protocol."""
    page.select_option("#first", label=first)
    page.select_option("#second", label=second)
    page.select_option("#pair-metric", label=metric)
    rows = page.locator("#pair-result tbody tr").evaluate_all(
        """rows => rows.map(row => [...row.cells].map(cell => cell.querySelector('small') === null ? cell.textContent
        : [...cell.children].filter(one => !one.matches('svg')).map(one => one.textContent).join('|')))"""
    )
    return {row[0]: row[1:] for row in rows}


def found(made: Board, key: str, first: str, second: str) -> Contrast:
    return next(one for one in made.contrasts if (one.column, one.first, one.second) == (key, first, second))


def test_two_models_show_the_boards_contrast_in_either_order(opened: Any, made: Board) -> None:
    page = opened()
    contrast = found(made, "fin_fpb", "multi-task", "fomc")
    change = contrast.differences["acc"]
    row = compare(page, "multi-task", "fomc")["fpb|by label likelihood"]
    assert row[2] == f"{percent(change.value, signed=True)}|{interval(change, signed=True)}"
    assert [int(row[4]), int(row[5])] == [contrast.only_first, contrast.only_second]
    assert sum(map(int, row[3:7])) == contrast.n
    assert row[7:] == [p_value(contrast.p), p_value(contrast.p_holm), percent(contrast.detectable)]
    page.click("#swap")
    assert page.locator("#first option:checked").inner_text() == "fomc"
    turned = compare(page, "fomc", "multi-task")["fpb|by label likelihood"]
    assert change.low is not None and change.high is not None
    ends = [percent(-end, signed=True) for end in (change.value, change.high, change.low)]
    assert turned[2] == f"{ends[0]}|{ends[1]} to {ends[2]}"
    assert [int(turned[4]), int(turned[5])] == [contrast.only_second, contrast.only_first]
    assert turned[7:] == row[7:]


def test_two_models_without_a_contrast_get_counts_and_the_exact_test(opened: Any, made: Board) -> None:
    page = opened()
    column = made.columns[-1]
    assert not any(one.column == column.key for one in made.contrasts)
    one, two = (entry.documents for entry in column.entries)
    assert one is not None and two is not None
    right, also = one.gold == one.answers, two.gold == two.answers
    counts = [np.sum(right & also), np.sum(right & ~also), np.sum(~right & also), np.sum(~right & ~also)]
    rows = compare(page, column.entries[0].model, column.entries[1].model)
    row = next(cells for name, cells in rows.items() if name.startswith("deal (10 documents only)"))
    assert row[3:7] == [str(count) for count in counts]
    assert row[7] == p_value(binomtest(int(counts[1]), int(counts[1] + counts[2])).pvalue)
    assert row[8:] == ["–", "–"] and row[2].endswith("|no interval")
    assert "p is not corrected" in page.locator("#pair-result").inner_text()


def test_a_model_without_samples_has_figures_and_no_test(opened: Any) -> None:
    page = opened()
    row = compare(page, "base", "sentiment")["deal|by written answer"]
    assert row[3:] == ["–"] * 7 and row[2].endswith("|no interval") and row[0] != "–" != row[1]
    page.select_option("#second", label="base")
    assert page.locator("#pair-result").inner_text() == "Choose two different models."


@pytest.mark.parametrize("pair", [(0, 0), (1, 0), (3, 9), (57, 57), (900, 1100), (4000, 4300)])
def test_the_pages_exact_test_is_scipys(opened: Any, pair: tuple[int, int]) -> None:
    expected = binomtest(pair[0], sum(pair)).pvalue if sum(pair) else 1.0
    assert opened("empty").evaluate("pair => mcnemar(...pair)", list(pair)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_the_page_reads_answers_of_any_number_of_labels(opened: Any, width: int) -> None:
    answers = [-3, -1, -2, 0, 1, 60, *([61, 62, 4092] if width > 1 else []), *([70_000] if width > 2 else [])]
    read = opened("empty").evaluate("([text, width]) => decode(text, width)", [encode(answers, width), width])
    assert [code - 3 if code > 2 else {0: -3, 1: -1, 2: -2}[code] for code in read] == answers
