"""A data card for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from fin_plugins.data.published import Card

_SHORT = 12


def card_text(card: Card) -> str:
    """The whole card, a fact a line."""
    return "\n".join([*_about(card), *_splits(card), *_figures(card)])


def _about(card: Card) -> Iterator[str]:
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
    yield from (f"  file      {one['path']}, sha256 {one['sha256'][:_SHORT]}" for one in card["sources"])


def _splits(card: Card) -> Iterator[str]:
    for name, split in card["splits"].items():
        dropped = split["rows_before_cleaning"] - split["rows"]
        hashed = split["sha256"][:_SHORT]
        yield f"  {name:<10} {split['rows']:>6,} rows, {dropped:,} dropped in cleaning, sha256 {hashed}"
        labels = sorted(split["labels"].items(), key=lambda one: -one[1]["rows"])
        yield "    " + ", ".join(f"{label} {count['rows']:,} ({count['share']:.1%})" for label, count in labels)


def _figures(card: Card) -> Iterator[str]:
    floor = card["floor"]
    scores = f"accuracy {floor['acc']:.1%}, weighted F1 {floor['weighted_f1']:.1%}, macro F1 {floor['macro_f1']:.1%}"
    yield f"  always answering {floor['label']} on the test rows: {scores}"
    if "ceiling" in card:
        yield f"  best accuracy that one label a key can reach: {card['ceiling']['acc']:.1%}"
    if "leaks" in card:
        yield f"  leaks: {leak_line(card['leaks'])}"


def leak_line(counts: Mapping[str, Any]) -> str:
    """How many test rows stand in the rows one learns from, before and after cleaning."""
    if counts["split"] is None:
        return f"test {counts['test']:>5,}: no rows to learn from"
    pairs = (f"{kind} {counts[f'{kind}_before']} → {counts[f'{kind}_after']}" for kind in ("exact", "near"))
    return f"test {counts['test']:>5,}: in {counts['split']} before → after cleaning: " + ", ".join(pairs)
