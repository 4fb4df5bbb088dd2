"""The record of the rows that a model was trained on."""

from pathlib import Path

import pytest

from fin_plugins.data.trained_rows import FILE, known_rows, read_trained_rows, row_hash, trained_rows_text


def test_what_is_written_is_read_and_holds_no_text(tmp_path: Path) -> None:
    texts = ["Rates rose again.", "The bank eased.", "Rates  ROSE again."]
    (tmp_path / FILE).write_text(trained_rows_text(map(row_hash, texts)))
    assert read_trained_rows(tmp_path) == {row_hash(text) for text in texts[:2]}
    assert "rose" not in (tmp_path / FILE).read_text().lower()
    (tmp_path / "b").mkdir()
    assert known_rows(tmp_path / "b", tmp_path) == read_trained_rows(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"0123456789abcdef\n", b"[" * 1000])
def test_what_is_no_record_says_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert read_trained_rows(tmp_path) == frozenset()
    assert read_trained_rows(tmp_path / "gone") == frozenset()
