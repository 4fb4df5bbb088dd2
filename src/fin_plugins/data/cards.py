"""Data cards: what stands in the repository about a data set instead of its texts."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from fin_plugins.data import leaks, pipeline
from fin_plugins.data.clean import UNCLEANED
from fin_plugins.data.folders import raw_dir
from fin_plugins.data.published import Card
from fin_plugins.data.sources import PUBLIC_BASE_URL, Dataset, find
from fin_plugins.data.store import BUILDER_VERSION, content_hash
from fin_plugins.stats.metrics import majority_floor

Frames = Mapping[str, pd.DataFrame]


def build_card(name: str, raw: Path | None = None, with_leaks: bool = True) -> Card:
    """Build a data set's card from its raw files.

    Args:
        name: `fomc` or `fin_fomc`.
        raw: folder of the raw files, or a mirror; the data folder's own where None.
        with_leaks: count leaks too (some seconds).

    Returns:
        Sources with commit and checksum, licence, citation, rows a split before and after cleaning, labels with their
        shares (0 to 1), content hashes, leaks, floors (0 to 1) and, for relations, the single-label ceiling.
    """
    dataset = find(name)
    before, after = pipeline.raw_splits(dataset, raw or raw_dir())
    card = {**_about(dataset), "splits": _splits(dataset, before, after), "floor": floor(dataset, after["test"])}
    if with_leaks:
        card["leaks"] = {"near_threshold": leaks.THRESHOLD, **asdict(leaks.count(before, after))}
    if "e1" in after["test"]:
        card["ceiling"] = ceiling(after["test"])
    return card


def write_card(card: Card, folder: Path) -> Path:
    """Write a card as `<key>.json` into the folder and return its path."""
    path = folder / f"{card['key']}.json"
    path.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def floor(dataset: Dataset, test: pd.DataFrame) -> Card:
    """Return what always answering the test set's most frequent label scores, each 0 to 1.

    F1s are over the full label set of the task.
    """
    gold = [dataset.labels.index(label) for label in test["label"]]
    scores = majority_floor(gold, len(dataset.labels))
    figures = {"acc": scores.acc, "weighted_f1": scores.weighted_f1, "macro_f1": scores.macro_f1}
    label = dataset.labels[max(range(len(dataset.labels)), key=gold.count)]
    return {"label": label, **{name: round(figure, 6) for name, figure in figures.items()}}


def ceiling(test: pd.DataFrame) -> Card:
    """Return the best accuracy that one label a (sentence, entity 1, entity 2) key can reach, 0 to 1."""
    labels = test.groupby(["text", "e1", "e2"])["label"]
    ambiguous = labels.nunique() > 1
    best = int(labels.agg(lambda found: found.value_counts().iloc[0]).sum())
    return {
        "keys_with_several_labels": int(ambiguous.sum()),
        "rows_of_such_keys": int(labels.size()[ambiguous].sum()),
        "best_correct": best,
        "acc": round(best / len(test), 6),
    }


def _about(dataset: Dataset) -> Card:
    return {
        "key": dataset.key,
        "task": dataset.task,
        "title": dataset.title,
        "language": "en",
        "seen": dataset.seen,
        "labels": list(dataset.labels),
        "licence": dataset.licence,
        "upstream": dataset.upstream,
        "citation": dataset.citation,
        "split": dataset.split,
        "cleaned": dataset.key not in UNCLEANED,
        "notes": list(dataset.notes),
        "builder_version": BUILDER_VERSION,
        "sources": [
            {"path": source.path, "commit": source.commit, "sha256": source.sha256, "bytes": source.bytes}
            for source in dataset.sources
        ],
        "sources_below": PUBLIC_BASE_URL,
    }


def _splits(dataset: Dataset, before: Frames, after: Frames) -> Card:
    return {
        split: {
            "rows_before_cleaning": len(before[split]),
            "rows": len(frame),
            "labels": _shares(dataset, frame),
            "sha256": content_hash(frame),
        }
        for split, frame in after.items()
    }


def _shares(dataset: Dataset, frame: pd.DataFrame) -> Card:
    counts = {label: int((frame["label"] == label).sum()) for label in dataset.labels}
    return {label: {"rows": rows, "share": round(rows / len(frame), 6)} for label, rows in counts.items()}
