"""Columns are guessed by name or content, and columns that cannot hold labels are refused."""

import pandas as pd
import pytest

from fin_plugins.authoring.labelled_data import ColumnGuess, count_duplicates, count_labels, get_column, guess_columns
from fin_plugins.common.errors import FinError

WORDS = [f"Shop number {number} sold more of everything than the year before" for number in range(12)]


def frame(**columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(columns, dtype=object)


@pytest.mark.parametrize(
    ("columns", "guessed"),
    [
        ({"Text": WORDS, "Label": ["a", "b"] * 6}, ColumnGuess("Text", "Label", None)),
        ({"id": [*"abcdefghijkl"], "note": WORDS, "mood": ["a", "b"] * 6}, ColumnGuess("note", "mood", None)),
        ({"headline": WORDS, "text": WORDS, "label": ["a", "b"] * 6}, ColumnGuess("text", "label", None)),
        (
            {"text": WORDS, "label": ["a", "b"] * 6, "split": ["train", "Test"] * 6},
            ColumnGuess("text", "label", "split"),
        ),
        ({"text": WORDS, "label": ["a", "b"] * 6, "set": ["x", "y"] * 6}, ColumnGuess("text", "label", None)),
        ({"text": WORDS, "one": ["a", "b"] * 6, "two": ["a", "b"] * 6}, ColumnGuess("text", None, None)),
    ],
)
def test_guesses(columns: dict[str, list[str]], guessed: ColumnGuess) -> None:
    assert guess_columns(frame(**columns)) == guessed


@pytest.mark.parametrize(
    ("values", "counts"),
    [
        (["b", "a ", "b"], {"a": 1, "b": 2}),
        (["10", "9", "-1"], {"-1": 1, "9": 1, "10": 1}),
        (["0.0", "1.0", "0"], {"0": 2, "1": 1}),
        (["1.0", "2.5"], {"1.0": 1, "2.5": 1}),
    ],
)
def test_labels(values: list[str], counts: dict[str, int]) -> None:
    found_counts = count_labels(pd.Series(values, dtype=object), "mood")
    assert list(found_counts.items()) == list(counts.items())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", "", " ", "b"], r"column mood: 2 rows have no label \(row 2, 3\)"),
        (["a", "b", ""], r"1 row has no label \(row 3\)"),
        (["a", "a"], "1 different values"),
        ([str(number) for number in range(501)], "501 different values"),
    ],
)
def test_columns_that_cannot_hold_labels(values: list[str], message: str) -> None:
    with pytest.raises(FinError, match=message):
        count_labels(pd.Series(values, dtype=object), "mood")


def test_equal_texts_are_counted() -> None:
    assert count_duplicates(["A b", "a  B", "c", "c"], ["x", "y", "z", "z"]) == (2, 1)


def test_a_misspelt_column() -> None:
    with pytest.raises(FinError, match=r"--text txt: no such column \(did you mean text\?\); there are text, label"):
        get_column(frame(text=["a"], label=["b"]), "txt", "--text")
