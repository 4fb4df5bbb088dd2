"""Data cards: the facts about a data set that are published in place of its texts.

The cards of the bundled data sets are built from the raw files and committed under `cards/`.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.data.dataset_store import BUILDER_VERSION, Manifest, content_hash, raw_dir
from fin_plugins.data.sources import LEAKY_BY_DESIGN, PUBLIC_BASE_URL, Dataset, find

if TYPE_CHECKING:
    import pandas as pd

    Frames = Mapping[str, pd.DataFrame]

Card = dict[str, Any]

_HASH_DIGITS = 12


def bundled_card(name: str) -> Card:
    """The committed card of a data set.

    Args:
        name: `fomc` or `fin_fomc`.
    """
    path = files(__package__).joinpath("cards", f"{find(name).key}.json")
    card: Card = json.loads(path.read_text(encoding="utf-8"))
    return card


def matches_bundled_card(dataset: Dataset, manifest: Manifest) -> bool:
    """Whether a build has exactly the rows of the committed card."""
    splits = bundled_card(dataset.key)["splits"]
    return manifest.hashes == {split: fields["sha256"] for split, fields in splits.items()}


def build_card(name: str, raw: Path | None = None) -> Card:
    """Build a data set's card from its raw files.

    Args:
        name: `fomc` or `fin_fomc`.
        raw: folder of the raw files, or a mirror; None for the data folder's own.

    Returns:
        Sources with commit and checksum, licence, citation, rows per split before and after decontamination, labels
        with their shares (0 to 1), content hashes, leaks, floors (0 to 1) and, for relations, the single-label
        ceiling.
    """
    from fin_plugins.data.builders import build_splits
    from fin_plugins.data.decontamination import NEAR_THRESHOLD, count_leaks

    dataset = find(name)
    before, after = build_splits(dataset, raw or raw_dir())
    card = {
        **_description(dataset),
        "splits": _splits(dataset, before, after),
        "floor": majority_floor_of(dataset, after["test"]),
        "leaks": {"near_threshold": NEAR_THRESHOLD, **asdict(count_leaks(before, after))},
    }
    if "e1" in after["test"]:
        card["ceiling"] = single_label_ceiling(after["test"])
    return card


def write_card(card: Card, folder: Path) -> Path:
    """Write a card as `<key>.json` into the folder and return its path."""
    path = folder / f"{card['key']}.json"
    path.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def majority_floor_of(dataset: Dataset, test: "pd.DataFrame") -> Card:
    """The scores, each 0 to 1, of always answering the test set's most frequent label.

    F1s are over the full label set of the task.
    """
    from fin_plugins.stats.metrics import majority_floor

    gold = [dataset.labels.index(label) for label in test["label"]]
    scores = majority_floor(gold, len(dataset.labels))
    figures = {"acc": scores.acc, "weighted_f1": scores.weighted_f1, "macro_f1": scores.macro_f1}
    label = dataset.labels[max(range(len(dataset.labels)), key=gold.count)]
    return {"label": label, **{name: round(figure, 6) for name, figure in figures.items()}}


def single_label_ceiling(test: "pd.DataFrame") -> Card:
    """The best accuracy, 0 to 1, that one label per (sentence, entity 1, entity 2) key can reach."""
    labels = test.groupby(["text", "e1", "e2"])["label"]
    ambiguous = labels.nunique() > 1
    best = int(labels.agg(lambda of_key: of_key.value_counts().iloc[0]).sum())
    return {
        "keys_with_several_labels": int(ambiguous.sum()),
        "rows_of_such_keys": int(labels.size()[ambiguous].sum()),
        "best_correct": best,
        "acc": round(best / len(test), 6),
    }


def _description(dataset: Dataset) -> Card:
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
        "cleaned": dataset.key not in LEAKY_BY_DESIGN,
        "notes": list(dataset.notes),
        "builder_version": BUILDER_VERSION,
        "sources": [
            {"path": source.path, "commit": source.commit, "sha256": source.sha256, "bytes": source.bytes}
            for source in dataset.sources
        ],
        "sources_below": PUBLIC_BASE_URL,
    }


def _splits(dataset: Dataset, before: "Frames", after: "Frames") -> Card:
    return {
        split: {
            "rows_before_cleaning": len(before[split]),
            "rows": len(frame),
            "labels": _label_shares(dataset, frame),
            "sha256": content_hash(frame),
        }
        for split, frame in after.items()
    }


def _label_shares(dataset: Dataset, frame: "pd.DataFrame") -> Card:
    counts = {label: int((frame["label"] == label).sum()) for label in dataset.labels}
    return {label: {"rows": rows, "share": round(rows / len(frame), 6)} for label, rows in counts.items()}


def format_card(card: Card) -> str:
    """The card as text, one fact per line."""
    return "\n".join([*_format_description(card), *_format_splits(card), *_format_figures(card)])


def _format_description(card: Card) -> Iterator[str]:
    yield f"{card['task']} · {card['title']}"
    facts = {
        "licence": card["licence"],
        "source": card["upstream"],
        "citation": card["citation"],
        "language": card["language"],
        "side": "seen" if card["seen"] else "unseen",
        "split": card["split"],
        "cleaned": "yes" if card["cleaned"] else "no: it leaks by design",
    }
    yield from (f"  {name:<9} {fact}" for name, fact in facts.items())
    yield from (f"  note      {note}" for note in card["notes"])
    yield from (f"  file      {source['path']}, sha256 {source['sha256'][:_HASH_DIGITS]}" for source in card["sources"])


def _format_splits(card: Card) -> Iterator[str]:
    for name, split in card["splits"].items():
        dropped = split["rows_before_cleaning"] - split["rows"]
        sha = split["sha256"][:_HASH_DIGITS]
        yield f"  {name:<10} {split['rows']:>6,} rows, {dropped:,} dropped in cleaning, sha256 {sha}"
        labels = sorted(split["labels"].items(), key=lambda item: -item[1]["rows"])
        yield "    " + ", ".join(f"{label} {count['rows']:,} ({count['share']:.1%})" for label, count in labels)


def _format_figures(card: Card) -> Iterator[str]:
    floor = card["floor"]
    scores = f"accuracy {floor['acc']:.1%}, weighted F1 {floor['weighted_f1']:.1%}, macro F1 {floor['macro_f1']:.1%}"
    yield f"  always answering {floor['label']} on the test rows: {scores}"
    if "ceiling" in card:
        yield f"  best accuracy that one label per key can reach: {card['ceiling']['acc']:.1%}"
    if "leaks" in card:
        yield f"  leaks: {format_leak_counts(card['leaks'])}"


def format_leak_counts(counts: Mapping[str, Any]) -> str:
    """How many test rows are in the rows that models learn from, before and after decontamination."""
    if counts["split"] is None:
        return f"test {counts['test']:>5,}: no rows to learn from"
    pairs = (f"{kind} {counts[f'{kind}_before']} → {counts[f'{kind}_after']}" for kind in ("exact", "near"))
    return f"test {counts['test']:>5,}: in {counts['split']} before → after cleaning: " + ", ".join(pairs)
