"""Data cards: the committed ones match the raw files and contain no text of a data set."""

from importlib import resources

import pytest

from fin_plugins.data import builders, data_cards
from fin_plugins.data.sources import datasets

# Accuracy, weighted F1, macro F1 of the majority label, in %.
FLOORS = {
    "fpb": (59.5, 44.4, 24.9),
    "fiqa": (60.0, 45.0, 25.0),
    "fomc": (49.4, 32.7, 22.0),
    "argument": (52.4, 36.1, 34.4),
    "deal": (50.0, 33.3, 33.3),
    "causal_full": (93.4, 90.2, 48.3),
}


def test_the_single_label_ceiling_of_finred(built_splits):
    ceiling = data_cards.single_label_ceiling(built_splits["finred"][0]["test"])
    assert (ceiling["best_correct"], ceiling["keys_with_several_labels"], ceiling["rows_of_such_keys"]) == (
        1278,
        201,
        411,
    )
    assert round(ceiling["acc"], 3) == 0.859


@pytest.mark.parametrize("key", FLOORS)
def test_floors(key):
    floor = data_cards.bundled_card(key)["floor"]
    assert tuple(round(100 * floor[name], 1) for name in ("acc", "weighted_f1", "macro_f1")) == FLOORS[key]


@pytest.mark.parametrize("key", datasets())
def test_the_committed_card_matches_the_raw_files(built_splits, key, monkeypatch):
    monkeypatch.setattr(builders, "build_splits", lambda dataset, raw: built_splits[dataset.key])
    assert data_cards.build_card(key) == data_cards.bundled_card(key)


@pytest.mark.parametrize("key", datasets())
def test_no_card_contains_a_text(built_splits, key):
    card = (resources.files("fin_plugins.data") / "cards" / f"{key}.json").read_text(encoding="utf-8")
    assert not any(text in card for frame in built_splits[key][0].values() for text in frame["text"] if len(text) > 30)
