"""Builds from small synthetic files, and from the real raw files where a mirror is at hand."""

import pandas as pd
import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.data import builders, dataset_store, download
from fin_plugins.data.dataset_rows import read_rows
from fin_plugins.data.dataset_store import built_dir
from fin_plugins.data.sources import LEAKY_BY_DESIGN, datasets
from fin_plugins.data.text_hashes import normalise
from tests.full_disk import no_file_larger_than

COUNTS = {
    "fpb": {"train": 3100, "validation": 776, "test": 970},
    "fiqa": {"train": 750, "validation": 188, "test": 235},
    "headline": {"train": 6493, "validation": 928, "test": 1856},
    "finred": {"train": 8079, "validation": 1554, "test": 1488},
    "finred_paper": {"train": 5655, "validation": 808, "test": 1616},
    "fomc": {"train": 1785, "validation": 199, "test": 496},
    "argument": {"train": 7753, "validation": 969, "test": 969},
    "deal": {"test": 500},
    "causal": {"fewshot": 7828, "test": 800},
    "causal_full": {"test": 8628},
}
GOLD = {
    "fpb": {"positive": 277, "negative": 116, "neutral": 577},
    "fiqa": {"positive": 141, "negative": 76, "neutral": 18},
    "fomc": {"neutral": 245, "dovish": 129, "hawkish": 122},
    "argument": {"premise": 508, "claim": 461},
    "deal": {"complete": 250, "rumour": 250},
    "causal": {"causal": 53, "noise": 747},
    "causal_full": {"causal": 572, "noise": 8056},
}


def fetch(dataset, copies):
    download.fetch_raw([dataset], copies, lambda size: None, lambda source, new: None)
    return builders.build_if_needed(dataset)


def test_built_rows_come_back_with_their_hashes(small_deal, copies):
    assert fetch(small_deal, copies).fresh
    assert not fetch(small_deal, copies).fresh
    read = read_rows("fin_deal")
    assert (read.name, read.data_mode, sorted(read.splits)) == ("deal", "real", ["fewshot", "test"])
    assert list(read.splits["test"].columns) == ["id", "text", "label"]
    assert read.hashes["test"] == dataset_store.current_manifest(small_deal).hashes["test"]
    # Ids count the published order, which is sorted by class; the rows stand in another.
    ids = list(read.splits["test"]["id"])
    assert ids != sorted(ids)
    assert "deal-test-00003" in ids
    # It has no rows of its own to learn from: those are the project's.
    assert read.splits["fewshot"]["id"].str.startswith("sample-deal-fewshot-").all()


@pytest.mark.parametrize("damage", ["truncate", "other rows", "remove"])
def test_corrupted_parquet_is_named_and_fetch_repairs_it(small_deal, copies, damage):
    fetch(small_deal, copies)
    path = built_dir("deal") / "test.parquet"
    if damage == "truncate":
        path.write_bytes(path.read_bytes()[:-20])
    elif damage == "remove":
        path.unlink()
    else:
        pd.read_parquet(path).assign(label="rumour").to_parquet(path)
    with pytest.raises(FinError, match=r"test\.parquet.*`fin data fetch fin_deal`") as caught:
        read_rows("deal")
    assert "\n" not in str(caught.value)
    assert fetch(small_deal, copies).fresh
    assert len(read_rows("deal").splits["test"]) == 10


def test_data_of_another_builder_is_built_again(small_deal, copies, monkeypatch):
    fetch(small_deal, copies)
    monkeypatch.setattr(dataset_store, "BUILDER_VERSION", 99)
    with pytest.raises(FinError, match="another version"):
        read_rows("deal")
    assert fetch(small_deal, copies).fresh


def test_full_disk_while_building(small_deal, copies):
    folder = built_dir("deal")
    with no_file_larger_than(1000), pytest.raises(FinError, match=r"built/deal: .*File too large"):
        fetch(small_deal, copies)
    assert not (folder / "manifest.json").exists() and not list(folder.glob("*.parquet"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}'])
def test_a_manifest_that_cannot_be_read_counts_as_none(small_deal, copies, text):
    fetch(small_deal, copies)
    (built_dir("deal") / "manifest.json").write_text(text)
    assert dataset_store.current_manifest(small_deal) is None


def test_there_is_a_count_for_every_data_set():
    assert list(COUNTS) == list(datasets())


@pytest.mark.parametrize("key", COUNTS)
def test_counts_before_cleaning_are_the_published_ones(built_splits, key):
    before, after = built_splits[key]
    assert {split: len(frame) for split, frame in before.items()} == COUNTS[key]
    if key in GOLD:
        assert before["test"]["label"].value_counts().to_dict() == GOLD[key]
    assert after["test"].equals(before["test"])
    assert all(set(frame["label"]) <= set(datasets()[key].labels) for frame in before.values())
    assert all(frame["id"].is_unique for frame in before.values())


@pytest.mark.parametrize("key", [key for key in COUNTS if key not in LEAKY_BY_DESIGN])
def test_no_text_crosses_splits_after_cleaning(built_splits, key):
    folded = [set(frame["text"].map(normalise)) for frame in built_splits[key][1].values()]
    assert sum(map(len, folded)) == len(set().union(*folded))


def test_the_headline_split_is_grouped_before_any_cleaning(built_splits):
    before, after = built_splits["headline"]
    assert {split: len(frame) for split, frame in before.items()} == {
        split: len(frame) for split, frame in after.items()
    }


@pytest.mark.parametrize("key", COUNTS)
def test_the_first_test_rows_cover_the_labels(built_splits, key):
    """`--limit 200` includes every label that at least 5 % of the rows have."""
    labels = built_splits[key][1]["test"]["label"]
    shares = labels.value_counts(normalize=True)
    assert set(shares[shares > 0.05].index) <= set(labels[:200])
    assert (labels[:200].value_counts(normalize=True) - shares).abs().max() < 0.12


def test_raw_totals(built_splits):
    fpb = sum((frame["label"].value_counts() for frame in built_splits["fpb"][0].values()), start=0)
    assert fpb.to_dict() == {"neutral": 2879, "positive": 1363, "negative": 604}
    headlines = [text for frame in built_splits["headline"][0].values() for text in frame["text"]]
    assert len(headlines) == 9277
    fomc = built_splits["fomc"][0]
    train = fomc["train"]["label"].value_counts() + fomc["validation"]["label"].value_counts()
    assert train.to_dict() == {"neutral": 979, "dovish": 521, "hawkish": 484}
    train_texts = {normalise(text) for split in ("train", "validation") for text in fomc[split]["text"]}
    assert sum(normalise(text) in train_texts for text in fomc["test"]["text"]) == 16
    assert built_splits["finred"][0]["test"]["text"].nunique() == 1068
