"""The real raw files, where a mirror is at hand: published counts, and the committed cards rebuilt."""

from importlib import resources

import pytest

from fin_plugins.data import cards, pipeline, published
from fin_plugins.data.clean import UNCLEANED
from fin_plugins.data.normalise import normalise
from fin_plugins.data.sources import datasets

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
# Accuracy, weighted F1, macro F1 of the majority label, in %.
FLOORS = {
    "fpb": (59.5, 44.4, 24.9),
    "fiqa": (60.0, 45.0, 25.0),
    "fomc": (49.4, 32.7, 22.0),
    "argument": (52.4, 36.1, 34.4),
    "deal": (50.0, 33.3, 33.3),
    "causal_full": (93.4, 90.2, 48.3),
}


def test_there_is_a_count_for_every_data_set():
    assert list(COUNTS) == list(datasets())


@pytest.fixture(scope="module")
def splits(mirror):
    return {key: pipeline.raw_splits(dataset, mirror) for key, dataset in datasets().items()}


@pytest.mark.parametrize("key", COUNTS)
def test_counts_before_cleaning_are_the_published_ones(splits, key):
    before, after = splits[key]
    assert {split: len(frame) for split, frame in before.items()} == COUNTS[key]
    if key in GOLD:
        assert before["test"]["label"].value_counts().to_dict() == GOLD[key]
    assert after["test"].equals(before["test"])
    assert all(set(frame["label"]) <= set(datasets()[key].labels) for frame in before.values())
    assert all(frame["id"].is_unique for frame in before.values())


@pytest.mark.parametrize("key", [key for key in COUNTS if key not in UNCLEANED])
def test_no_text_crosses_splits_after_cleaning(splits, key):
    folded = [set(frame["text"].map(normalise)) for frame in splits[key][1].values()]
    assert sum(map(len, folded)) == len(set().union(*folded))


def test_the_headline_split_is_grouped_before_any_cleaning(splits):
    before, after = splits["headline"]
    assert {split: len(frame) for split, frame in before.items()} == {
        split: len(frame) for split, frame in after.items()
    }


@pytest.mark.parametrize("key", COUNTS)
def test_the_first_test_rows_are_a_sample(splits, key):
    """`--limit 200` sees every label that a twentieth of the rows carry."""
    labels = splits[key][1]["test"]["label"]
    shares = labels.value_counts(normalize=True)
    assert set(shares[shares > 0.05].index) <= set(labels[:200])
    assert (labels[:200].value_counts(normalize=True) - shares).abs().max() < 0.12


def test_raw_totals(splits):
    fpb = sum((frame["label"].value_counts() for frame in splits["fpb"][0].values()), start=0)
    assert fpb.to_dict() == {"neutral": 2879, "positive": 1363, "negative": 604}
    headlines = [text for frame in splits["headline"][0].values() for text in frame["text"]]
    assert len(headlines) == 9277
    fomc = splits["fomc"][0]
    train = fomc["train"]["label"].value_counts() + fomc["validation"]["label"].value_counts()
    assert train.to_dict() == {"neutral": 979, "dovish": 521, "hawkish": 484}
    learnt = {normalise(text) for split in ("train", "validation") for text in fomc[split]["text"]}
    assert sum(normalise(text) in learnt for text in fomc["test"]["text"]) == 16
    assert splits["finred"][0]["test"]["text"].nunique() == 1068


def test_the_single_label_ceiling_of_finred(splits):
    found = cards.ceiling(splits["finred"][0]["test"])
    assert (found["best_correct"], found["keys_with_several_labels"], found["rows_of_such_keys"]) == (1278, 201, 411)
    assert round(found["acc"], 3) == 0.859


@pytest.mark.parametrize("key", FLOORS)
def test_floors(key):
    floor = published.committed(key)["floor"]
    assert tuple(round(100 * floor[name], 1) for name in ("acc", "weighted_f1", "macro_f1")) == FLOORS[key]


@pytest.mark.parametrize("key", COUNTS)
def test_the_committed_card_is_what_the_raw_files_give(mirror, key):
    assert cards.build_card(key, mirror) == published.committed(key)


@pytest.mark.parametrize("key", COUNTS)
def test_no_card_holds_a_text(splits, key):
    card = (resources.files("fin_plugins.data") / "cards" / f"{key}.json").read_text(encoding="utf-8")
    assert not any(text in card for frame in splits[key][0].values() for text in frame["text"] if len(text) > 30)
