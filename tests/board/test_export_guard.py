"""Private text is found anywhere in an export."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_plugins.board.export_guard import PrivateText, check_exportable, home_name
from fin_plugins.common.errors import FinError

SECRETS = PrivateText(frozenset({"The bank raised its rates again.", "Buy"}), "somebody")


def refused(value: object, words: tuple[str, ...] = ()) -> bool:
    try:
        check_exportable(value, SECRETS, words, "results/run.json")
    except FinError as error:
        assert str(error).startswith("results/run.json: would contain ")
        return True
    return False


@pytest.mark.parametrize(
    "text",
    [
        "/data/models/m",
        "/m",
        "~/m",
        "~somebody/m",
        "C:\\models\\m",
        "c:/models/m",
        "\\\\server\\share",
        "file:///x",
        "http://10.0.0.1:8000/v1",
        "adapter (on /data/m)",
        "dtype=/data/m",
        '"/data/m"',
        "<a href=/data>",
        "two\n/data/m",
    ],
)
def test_paths(text: str) -> None:
    assert refused(text)
    assert refused({"a": [1, {"b": text}]})
    assert refused({text: 1})
    assert refused(text, words=(text,))


@pytest.mark.parametrize(
    "text",
    ["org/model", "fomc/checkpoint-500", "and/or", "a / b", "3/4", "m [dtype float32]", "acc,none", "N/A", "~1", ""],
)
def test_harmless_texts(text: str) -> None:
    assert not refused(text)


@pytest.mark.parametrize("text", ["somebody", "Somebody's model", "of-somebody", "a_somebody_b", "x.somebody"])
def test_home_name(text: str) -> None:
    assert refused(text)
    assert not refused(text, words=(text,))


@pytest.mark.parametrize("text", ["somebodys", "nobody", "some body"])
def test_words_similar_to_the_home_name(text: str) -> None:
    assert not refused(text)


@pytest.mark.parametrize(
    "text",
    [
        "The bank raised its rates again.",
        "raised its rates",
        "Buy",
        "A model: The bank raised its rates again.!",
        "acc,bank raised its rates again by",
    ],
)
def test_words_of_documents(text: str) -> None:
    assert refused(text)
    assert not refused(text, words=(text,))


@pytest.mark.parametrize("text", ["The bank", "Buyer", "rates"])
def test_short_words_may_be_in_documents(text: str) -> None:
    assert not refused(text)


@given(st.text("ab/\\~: .", max_size=12))
def test_no_path_is_missed(text: str) -> None:
    parts = text.split()
    if any(part.startswith(("/a", "/b", "~/", "a:/", "b:\\")) for part in parts):
        assert refused(text)


def test_home_name_of_this_machine() -> None:
    assert home_name() == Path.home().name


def test_a_reply_may_be_the_name_of_a_field() -> None:
    # A trained model once answered `data`, and its results could not be exported.
    assert not refused({"Buy": 1}) and not refused([{"a": {"Buy": "x"}}])
    assert refused({"a": "Buy"}) and refused({"somebody": 1}) and refused({"The bank raised its rates again.": 1})
