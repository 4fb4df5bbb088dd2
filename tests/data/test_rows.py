"""Built data and its reader: whole, current and uncorrupted, or an error that says what to do."""

import os
import subprocess
import sys

import pandas as pd
import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.data import pipeline, rows, store
from fin_plugins.data.folders import built_dir
from fin_plugins.data.rows import read_rows
from fin_plugins.data.sources import datasets
from tests.data.conftest import REPO
from tests.full_disk import no_file_larger_than


def fetch(dataset, copies):
    pipeline.fetch_raw([dataset], copies, lambda size: None, lambda source, new: None)
    return pipeline.build_if_needed(dataset)


def test_built_rows_come_back_with_their_hashes(small_deal, copies):
    assert fetch(small_deal, copies).fresh
    assert not fetch(small_deal, copies).fresh
    read = read_rows("fin_deal")
    assert (read.name, read.origin, sorted(read.splits)) == ("deal", "real", ["fewshot", "test"])
    assert list(read.splits["test"].columns) == ["id", "text", "label"]
    assert read.hashes["test"] == store.current(small_deal).hashes["test"]
    # Ids count the published order, which is sorted by class; the rows stand in another.
    ids = list(read.splits["test"]["id"])
    assert ids != sorted(ids)
    assert "deal-test-00003" in ids
    # It has no rows of its own to learn from: those are the project's.
    assert read.splits["fewshot"]["id"].str.startswith("sample-deal-fewshot-").all()


def test_not_fetched_yet(small_deal):
    with pytest.raises(FinError, match=r"fin_deal: data not fetched yet.*`fin data fetch fin_deal`.*FIN_DATA=sample"):
        read_rows("deal")


def test_fin_data_typo(monkeypatch):
    monkeypatch.setenv("FIN_DATA", "smaple")
    with pytest.raises(FinError, match="FIN_DATA=smaple: must be real"):
        read_rows("deal")


@pytest.mark.parametrize("spoil", ["truncate", "other rows", "remove"])
def test_corrupted_parquet_is_named_and_fetch_mends_it(small_deal, copies, spoil):
    fetch(small_deal, copies)
    path = built_dir("deal") / "test.parquet"
    if spoil == "truncate":
        path.write_bytes(path.read_bytes()[:-20])
    elif spoil == "remove":
        path.unlink()
    else:
        pd.read_parquet(path).assign(label="rumour").to_parquet(path)
    with pytest.raises(
        FinError, match=r"test\.parquet: (unreadable|corrupted).*`fin data fetch fin_deal` again"
    ) as caught:
        read_rows("deal")
    assert "\n" not in str(caught.value)
    assert fetch(small_deal, copies).fresh
    assert len(read_rows("deal").splits["test"]) == 10


def test_data_of_another_builder_is_built_again(small_deal, copies, monkeypatch):
    fetch(small_deal, copies)
    monkeypatch.setattr(store, "BUILDER_VERSION", 99)
    with pytest.raises(FinError, match="built by another version"):
        read_rows("deal")
    assert fetch(small_deal, copies).fresh


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}'])
def test_a_manifest_that_cannot_be_read_counts_as_none(small_deal, copies, text):
    fetch(small_deal, copies)
    (built_dir("deal") / "manifest.json").write_text(text)
    assert store.current(small_deal) is None


def test_full_disk_while_building(small_deal, copies):
    folder = built_dir("deal")
    with no_file_larger_than(1000), pytest.raises(FinError, match="deal: cannot write data there"):
        fetch(small_deal, copies)
    assert not (folder / "manifest.json").exists() and not list(folder.glob("*.parquet"))


KILLED = """
import os, sys
import pandas as pd
from pathlib import Path
from fin_plugins.data import store
real, done = pd.DataFrame.to_parquet, []
def to_parquet(frame, path, **more):
    if done:
        os.kill(os.getpid(), 9)
    done.append(real(frame, path, **more))
pd.DataFrame.to_parquet = to_parquet
frame = pd.DataFrame({"id": ["a"], "text": ["b"], "label": ["c"]})
store.write(Path(sys.argv[1]), store.Manifest(1, 1, {}, {}, {}, {}), {"train": frame, "test": frame})
"""


def test_killed_while_building_reads_as_not_built(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    environment = {**os.environ, "PYTHONPATH": str(REPO / "src")}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=environment, check=False)
    assert done.returncode == -9
    assert (tmp_path / "train.parquet").exists() and not (tmp_path / "manifest.json").exists()
    assert store.read_manifest(tmp_path) is None


def test_content_hash_is_of_rows_not_of_files():
    frame = pd.DataFrame({"id": ["a"], "text": ["é"], "label": ["c"]})
    assert store.content_hash(frame) == store.content_hash(frame[["label", "text", "id"]])
    assert store.content_hash(frame) != store.content_hash(frame.assign(text="e"))
    assert store.content_hash(frame) == "fa346cae97ffe741a9dd12bdfe33aa239655c824b7a5c6c0ad469d4856a47cee"


@pytest.mark.parametrize("key", list(datasets()))
def test_embedded_rows_of_every_data_set(key, monkeypatch):
    monkeypatch.setenv("FIN_DATA", "sample")
    read = read_rows(key)
    learn = "fewshot" if key in ("deal", "causal", "causal_full") else "train"
    assert read.origin == "sample" and {learn, "test"} <= set(read.splits)
    test = read.splits["test"]
    assert test["id"][3] == f"sample-{key}-test-003" and set(test["label"]) <= set(datasets()[key].labels)
    assert ("e1" in test) == ("e2" in test) == key.startswith("finred")
    assert read.hashes["test"] == store.content_hash(test)


def test_missing_embedded_rows(monkeypatch):
    monkeypatch.setattr(rows, "_SAMPLE_OF", {"fomc": "none"})
    monkeypatch.setenv("FIN_DATA", "sample")
    with pytest.raises(FinError, match="embedded rows are missing: install"):
        read_rows("fomc")
