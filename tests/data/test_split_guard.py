"""While test rows are blocked, no function of the data layer reads one."""

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.data import builders, dataset_store
from fin_plugins.data.dataset_rows import read_rows
from fin_plugins.data.sources import datasets, find
from fin_plugins.data.split_guard import block_test_split


def test_sample_rows_have_no_test_split(monkeypatch):
    monkeypatch.setenv("FIN_DATA", "sample")
    for key in datasets():
        assert "test" in read_rows(key).splits
        with block_test_split():
            assert "test" not in read_rows(key).splits
        assert "test" in read_rows(key).splits


def test_the_file_of_a_test_split_is_not_opened(tmp_path):
    with block_test_split(), pytest.raises(FinError, match="test rows"):
        dataset_store.read_split(tmp_path / "test.parquet", "fin_fomc", "0")


def test_raw_files_are_not_built_from(tmp_path):
    with block_test_split(), pytest.raises(FinError, match="test rows"):
        builders.build_splits(find("fomc"), tmp_path)


def test_nested_blocks(monkeypatch):
    monkeypatch.setenv("FIN_DATA", "sample")
    with block_test_split():
        with block_test_split():
            pass
        assert "test" not in read_rows("fomc").splits
