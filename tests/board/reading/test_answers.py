"""The committed form of samples: what is written is read back, and nothing else can be."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_plugins.board.model import Documents
from fin_plugins.board.reading.answers import answers_text, file_part, read_answers
from fin_plugins.board.reading.files import RunFiles
from fin_plugins.board.reading.raw import Answered, Raw, Run
from fin_plugins.board.reading.values import Unusable
from fin_plugins.common.errors import FinError

HASHES = st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")
LABELS = ("complete", "rumour")
HEAD = "hash,gold,answer\n"
HASH = "a" * 64


def documents(rows: list[tuple[str, int, int]]) -> Documents:
    hashes, gold, answers = zip(*rows, strict=True)
    return Documents(hashes, np.array(gold), np.array(answers))


def read(text: str, folder: Path, labels: tuple[str, ...] = LABELS, n: int = 1) -> Answered:
    run = Run(RunFiles(folder / "r", "r", ""), 0.0, "", "e", {}, {}, False, "", False, "", ("m", None))
    file = folder / "answers.csv"
    file.write_bytes(text.encode())
    raw = Raw(run, "t", "t", "gen", None, "real", "", "1", "p", 0, n, n, None, "none", {}, labels, recomputed=("acc",))
    return read_answers(file, raw)


@given(
    st.lists(st.tuples(HASHES, st.integers(0, 1), st.integers(-2, 1)), min_size=1, unique_by=lambda row: row[0]),
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1),
        min_size=2,
        max_size=2,
        unique=True,
    ),
)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int, int]], labels: list[str]
) -> None:
    given = documents(rows)
    found = read(answers_text(given, tuple(labels)), tmp_path_factory.getbasetemp(), tuple(labels), len(rows))
    assert found.documents.hashes == given.hashes
    assert found.documents.gold.tolist() == given.gold.tolist()
    assert found.documents.answers.tolist() == given.answers.tolist()
    assert found.recomputed == ("acc",)


def test_it_is_short_and_plain() -> None:
    rows = [(HASH, 0, 1), (f"{HASH}#2", 1, -1), ("b" * 64, 1, -2)]
    assert answers_text(documents(rows), LABELS) == (
        f"{HEAD}{HASH},complete,rumour\n{HASH}#2,rumour,(missing)\n{'b' * 64},rumour,(ambiguous)\n"
    )


def test_what_is_no_hash_is_not_written() -> None:
    with pytest.raises(FinError, match="is no hash of a document"):
        answers_text(documents([("The bank raised its rates again.", 0, 0)]), LABELS)


@pytest.mark.parametrize("labels", [("(missing)", "b"), ("a", "a"), ("a", "b\r")])
def test_labels_that_could_be_taken_for_something_else(labels: tuple[str, ...]) -> None:
    with pytest.raises(FinError, match="two are the same, or one is"):
        answers_text(documents([(HASH, 0, 0)]), labels)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "does not begin with hash,gold,answer"),
        ("hash;gold;answer\n", "does not begin with hash,gold,answer"),
        (HEAD, "it has 0 of 1 documents"),
        (f"{HEAD}{HASH},complete,rumo", "line 2 is not a hash, a gold label and an answer of this task"),
        (f"{HEAD}{HASH},complete", "line 2 is not a hash"),
        (f"{HEAD}{HASH},(missing),complete\n", "line 2 is not a hash"),
        (f"{HEAD}A sentence.,complete,complete\n", "line 2 is not a hash"),
        (f"{HEAD}{HASH},complete,complete\n{HASH},complete,complete\n", "it has 2 of 1 documents"),
        (f'{HEAD}{HASH},"complete,complete\n', "is not valid CSV"),
        (f"{HEAD}{HASH},comp\x00lete,complete\n", "is not"),
    ],
)
def test_damaged_files(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(Unusable, match=said):
        read(text, tmp_path)


@given(st.text(min_size=1), st.text(min_size=1))
def test_names_as_parts_of_file_names(first: str, second: str) -> None:
    part = file_part(first)
    assert part.isascii() and len(part) < 100
    assert not set(part) & set('/\\:*?"<>| \n\x00')
    assert not part.startswith(".")
    assert part != file_part(second) or first == second
    assert file_part("fin_fomc_gen") == "fin_fomc_gen"
