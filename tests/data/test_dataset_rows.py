"""Reading rows: real or embedded, or an error with a remedy."""

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.data import dataset_store, sources
from fin_plugins.data.dataset_rows import read_rows
from fin_plugins.data.sources import datasets
from tests.data.conftest import dataset


def test_not_fetched_yet(small_deal):
    with pytest.raises(FinError, match=r"fin_deal.*`fin data fetch fin_deal`.*FIN_DATA=sample"):
        read_rows("deal")


def test_invalid_fin_data(monkeypatch):
    monkeypatch.setenv("FIN_DATA", "smaple")
    with pytest.raises(FinError, match="FIN_DATA=smaple"):
        read_rows("deal")


@pytest.mark.parametrize("key", list(datasets()))
def test_embedded_rows_of_every_data_set(key, monkeypatch):
    monkeypatch.setenv("FIN_DATA", "sample")
    rows = read_rows(key)
    train = "fewshot" if key in ("deal", "causal", "causal_full") else "train"
    assert rows.data_mode == "sample" and {train, "test"} <= set(rows.splits)
    test = rows.splits["test"]
    assert test["id"][3] == f"sample-{key}-test-003" and set(test["label"]) <= set(datasets()[key].labels)
    assert ("e1" in test) == ("e2" in test) == key.startswith("finred")
    assert rows.hashes["test"] == dataset_store.content_hash(test)


def test_missing_embedded_rows(monkeypatch):
    monkeypatch.setattr(sources, "datasets", lambda: {"none": dataset("none", ("a",), [])})
    monkeypatch.setenv("FIN_DATA", "sample")
    with pytest.raises(FinError, match=r"none\.jsonl"):
        read_rows("none")
