"""Columns are guessed by name, else by content; labels that cannot be are told."""

import pandas as pd
import pytest

from fin_plugins.authoring.look import Columns, guess, labels_in, oddities, require
from fin_plugins.common.errors import FinError

WORDS = [f"Shop number {number} sold more of everything than the year before" for number in range(12)]


def frame(**columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(columns, dtype=object)


@pytest.mark.parametrize(
    ("columns", "guessed"),
    [
        ({"Text": WORDS, "Label": ["a", "b"] * 6}, Columns("Text", "Label", None)),
        ({"id": [*"abcdefghijkl"], "note": WORDS, "mood": ["a", "b"] * 6}, Columns("note", "mood", None)),
        ({"headline": WORDS, "text": WORDS, "label": ["a", "b"] * 6}, Columns("text", "label", None)),
        ({"text": WORDS, "label": ["a", "b"] * 6, "split": ["train", "Test"] * 6}, Columns("text", "label", "split")),
        ({"text": WORDS, "label": ["a", "b"] * 6, "set": ["x", "y"] * 6}, Columns("text", "label", None)),
        ({"text": WORDS, "one": ["a", "b"] * 6, "two": ["a", "b"] * 6}, Columns("text", None, None)),
    ],
)
def test_guesses(columns: dict[str, list[str]], guessed: Columns) -> None:
    assert guess(frame(**columns)) == guessed


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
    found = labels_in(pd.Series(values, dtype=object), "mood")
    assert list(found.items()) == list(counts.items())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", "", " ", "b"], r"column mood: 2 rows have no label \(row 2, 3\)"),
        (["a", "b", ""], r"1 row has no label \(row 3\)"),
        (["a", "a"], "1 different values: a label column has 2 to 500"),
        ([str(number) for number in range(501)], "501 different values"),
    ],
)
def test_no_labels(values: list[str], message: str) -> None:
    with pytest.raises(FinError, match=message):
        labels_in(pd.Series(values, dtype=object), "mood")


def test_equal_texts_are_counted() -> None:
    assert oddities(["A b", "a  B", "c", "c"], ["x", "y", "z", "z"]) == (2, 1)


def test_a_misspelt_column() -> None:
    with pytest.raises(FinError, match=r"--text txt: no such column \(did you mean text\?\); there are text, label"):
        require(frame(text=["a"], label=["b"]), "txt", "--text")
