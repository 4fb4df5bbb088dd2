"""Exported answer files: round trips, and refusal of anything but hashes and labels."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_plugins.board.board_data import Documents
from fin_plugins.board.reading.answer_files import file_name_part, format_answers, read_answers
from fin_plugins.board.reading.json_utils import UnusableFile
from fin_plugins.board.reading.model_names import identify_model
from fin_plugins.board.reading.result_files import Run, TaskResult
from fin_plugins.board.reading.run_files import RunFiles
from fin_plugins.board.reading.sample_files import Answers
from fin_plugins.common.errors import FinError

HASHES = st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")
LABELS = ("complete", "rumour")
HEAD = "hash,gold,answer\n"
HASH = "a" * 64


def documents(rows: list[tuple[str, int, int]]) -> Documents:
    hashes, gold, answers = zip(*rows, strict=True)
    return Documents(hashes, np.array(gold), np.array(answers))


def read(text: str, folder: Path, labels: tuple[str, ...] = LABELS, n: int = 1) -> Answers:
    files = RunFiles(folder / "r", "r", "")
    run = Run(files, 0.0, "", "e", {}, identify_model("e", {}), {}, False, "", False, ("m", None))
    file = folder / "answers.csv"
    file.write_bytes(text.encode())
    task = TaskResult(
        run, "t", "t", "gen", None, "real", "", "1", "p", 0, n, n, None, "none", {}, labels, recomputed=("acc",)
    )
    return read_answers(file, task)


@given(
    st.lists(st.tuples(HASHES, st.integers(0, 1), st.integers(-2, 1)), min_size=1, unique_by=lambda row: row[0]),
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1).filter(
            lambda label: label not in ("(missing)", "(ambiguous)")
        ),
        min_size=2,
        max_size=2,
        unique=True,
    ),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int, int]], labels: list[str]
) -> None:
    written = documents(rows)
    answers = read(format_answers(written, tuple(labels)), tmp_path_factory.getbasetemp(), tuple(labels), len(rows))
    assert answers.documents.hashes == written.hashes
    assert answers.documents.gold.tolist() == written.gold.tolist()
    assert answers.documents.answers.tolist() == written.answers.tolist()
    assert answers.recomputed == ("acc",)


def test_format() -> None:
    rows = [(HASH, 0, 1), (f"{HASH}#2", 1, -1), ("b" * 64, 1, -2)]
    assert format_answers(documents(rows), LABELS) == (
        f"{HEAD}{HASH},complete,rumour\n{HASH}#2,rumour,(missing)\n{'b' * 64},rumour,(ambiguous)\n"
    )


def test_only_hashes_are_written() -> None:
    with pytest.raises(FinError, match="not a document hash"):
        format_answers(documents([("The bank raised its rates again.", 0, 0)]), LABELS)


@pytest.mark.parametrize("labels", [("(missing)", "b"), ("a", "a"), ("a", "b\r")])
def test_ambiguous_labels_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(FinError, match="labels"):
        format_answers(documents([(HASH, 0, 0)]), labels)


@pytest.mark.parametrize(
    ("text", "message"),
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
def test_damaged_files(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match=message):
        read(text, tmp_path)


@given(st.text(min_size=1), st.text(min_size=1))
def test_names_as_parts_of_file_names(first: str, second: str) -> None:
    part = file_name_part(first)
    assert part.isascii() and len(part) < 100
    assert not set(part) & set('/\\:*?"<>| \n\x00')
    assert not part.startswith(".")
    assert part != file_name_part(second) or first == second
    assert file_name_part("fin_fomc_gen") == "fin_fomc_gen"
