"""While a model is trained, no way of the data layer leads to a test row."""

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.data import held_out, pipeline, store
from fin_plugins.data.guard import test_rows_closed as rows_closed
from fin_plugins.data.rows import read_rows
from fin_plugins.data.sources import datasets, find


def test_sample_rows_have_no_test_split(monkeypatch):
    monkeypatch.setenv("FIN_DATA", "sample")
    for key in datasets():
        assert "test" in read_rows(key).splits
        with rows_closed():
            assert "test" not in read_rows(key).splits
        assert "test" in read_rows(key).splits


def test_the_file_of_a_test_split_is_not_opened(tmp_path):
    with rows_closed(), pytest.raises(FinError, match="test rows cannot be read while a model is trained"):
        store.read_split(tmp_path / "test.parquet", "fin_fomc", "0")


def test_raw_files_are_not_built_from(tmp_path):
    with rows_closed(), pytest.raises(FinError, match="test rows cannot be read"):
        pipeline.raw_splits(find("fomc"), tmp_path)


def test_nested_blocks_stay_closed(monkeypatch):
    monkeypatch.setenv("FIN_DATA", "sample")
    with rows_closed():
        with rows_closed():
            pass
        assert "test" not in read_rows("fomc").splits


def test_only_whether_a_text_is_held_out_can_be_asked(monkeypatch):
    monkeypatch.setenv("FIN_DATA", "sample")
    test = list(read_rows("fomc").splits["test"]["text"])
    known = held_out.held_out()
    assert known.unchecked == ()
    with rows_closed():
        assert known.leaks([test[0].upper(), "A sentence that nobody wrote."], "fpb") == [True, False]
    assert not any(isinstance(value, str) for hashes in known.hashes.values() for value in hashes)
    with rows_closed(), pytest.raises(FinError, match="test rows cannot be read"):
        held_out.held_out()


def test_the_papers_split_counts_for_itself_only():
    hashes = {name: frozenset({held_out._hash("one")}) for name in ("finred_paper",)}
    known = held_out.HeldOut(hashes, ())
    assert known.leaks(["one"], "finred_paper") == [True]
    assert known.leaks(["one"], "finred") == [False]
