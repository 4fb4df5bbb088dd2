"""The committed data cards, as readers of data need them."""

import json
from importlib.resources import files
from typing import Any

from fin_plugins.data.sources import Dataset, find
from fin_plugins.data.store import Manifest

Card = dict[str, Any]


def committed(name: str) -> Card:
    """Return the card of a data set that comes with the package.

    Args:
        name: `fomc` or `fin_fomc`.
    """
    path = files(__package__).joinpath("cards", f"{find(name).key}.json")
    card: Card = json.loads(path.read_text(encoding="utf-8"))
    return card


def matches_committed(dataset: Dataset, manifest: Manifest) -> bool:
    """Say whether a build holds exactly the rows that the committed card speaks of."""
    splits = committed(dataset.key)["splits"]
    return manifest.hashes == {split: fields["sha256"] for split, fields in splits.items()}
