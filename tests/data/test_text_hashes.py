"""Equal texts, the record of rows that a model was trained on, and the hashed texts of test sets."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_plugins.common.errors import FinError
from fin_plugins.data.dataset_rows import read_rows
from fin_plugins.data.split_guard import block_test_split
from fin_plugins.data.text_hashes import (
    TRAINED_ROWS_FILE,
    HeldOutTexts,
    format_trained_rows,
    hash_held_out_texts,
    held_out_hash,
    normalise,
    read_trained_rows,
    row_hash,
)


@given(st.text())
def test_normalise_is_idempotent(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert once == once.strip() and "  " not in once


def test_normalise_folds_form_space_and_case() -> None:
    assert normalise(" ＡＢ\u00a0c\n STRASSE ") == normalise("ab C straße") == "ab c strasse"


def test_trained_rows_are_read_back_and_reveal_no_text(tmp_path: Path) -> None:
    texts = ["Rates rose again.", "The bank eased.", "Rates  ROSE again."]
    (tmp_path / TRAINED_ROWS_FILE).write_text(format_trained_rows(map(row_hash, texts)))
    assert read_trained_rows(tmp_path) == {row_hash(text) for text in texts[:2]}
    assert "rose" not in (tmp_path / TRAINED_ROWS_FILE).read_text().lower()
    (tmp_path / "b").mkdir()
    assert read_trained_rows(tmp_path / "b", tmp_path) == read_trained_rows(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"0123456789abcdef\n", b"[" * 1000])
def test_another_file_of_that_name_holds_no_trained_rows(content: bytes, tmp_path: Path) -> None:
    (tmp_path / TRAINED_ROWS_FILE).write_bytes(content)
    assert read_trained_rows(tmp_path) == frozenset()
    assert read_trained_rows(tmp_path / "missing") == frozenset()


def test_held_out_texts_can_be_recognised_but_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIN_DATA", "sample")
    test = list(read_rows("fomc").splits["test"]["text"])
    held_out = hash_held_out_texts()
    assert held_out.unchecked == ()
    with block_test_split():
        assert held_out.leaks([test[0].upper(), "A sentence that nobody wrote."], "fpb") == [True, False]
    assert not any(isinstance(value, str) for hashes in held_out.hashes.values() for value in hashes)
    with block_test_split(), pytest.raises(FinError, match="test rows"):
        hash_held_out_texts()


def test_the_papers_split_of_finred_counts_for_itself_only() -> None:
    held_out = HeldOutTexts({"finred_paper": frozenset({held_out_hash("one")})}, ())
    assert held_out.leaks(["one"], "finred_paper") == [True]
    assert held_out.leaks(["one"], "finred") == [False]
