"""Texts of held-out splits in the splits that models learn from: counting them, and removing them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

import pandas as pd

from fin_plugins.data.text_hashes import normalise

if TYPE_CHECKING:
    from datasketch import MinHash

# For each split, the splits whose texts it must not contain. Test sets stay as published.
_HELD_OUT = {"validation": ("test",), "train": ("test", "validation"), "fewshot": ("test",)}

NEAR_THRESHOLD = 0.8
"""Two texts are near-duplicates if the Jaccard similarity of their character 5-grams is at least this."""
NEAR_INCREASE_NOTE = (
    "near can increase while exact decreases: a test row counts once, as exact rather than near. When its equal text "
    "is removed from train, the row counts as near if a similar text remains"
)
_SHINGLE = 5
_PERMUTATIONS = 64
# Lower than the threshold, so that the index misses none; every candidate is then measured exactly.
_CANDIDATE_THRESHOLD = 0.6


@dataclass(frozen=True)
class LeakCounts:
    """Test rows whose text is in the train (or few-shot) split.

    Attributes:
        split: the split compared with test, or None if there is none.
        test: number of test rows.
        exact_before: test rows with an equal normalised text there, before decontamination.
        exact_after: the same after decontamination.
        near_before: test rows with a near-duplicate but no equal text there, before decontamination.
        near_after: the same after decontamination.
    """

    split: str | None
    test: int
    exact_before: int
    exact_after: int
    near_before: int
    near_after: int


def decontaminate(splits: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Drop train, validation and few-shot rows whose normalised text is empty or in a held-out split.

    Args:
        splits: one frame per split, with a `text` column.

    Returns:
        The splits without those rows, in the same order; `test` is never changed.
    """
    texts = {split: frame["text"].map(normalise) for split, frame in splits.items()}
    clean = {}
    for split, frame in splits.items():
        held_out = [set(texts[other]) for other in _HELD_OUT.get(split, ()) if other in texts]
        excluded = set().union(*held_out) | ({""} if split in _HELD_OUT else set())
        clean[split] = frame[~texts[split].isin(excluded)].reset_index(drop=True)
    return clean


def count_leaks(before: Mapping[str, pd.DataFrame], after: Mapping[str, pd.DataFrame]) -> LeakCounts:
    """Count the test rows of a data set that leak, before and after its decontamination.

    Args:
        before: one frame per split, column `text`, as published.
        after: the same splits after decontamination; train rows are a subset of those in `before`.
    """
    test = before["test"]["text"].map(normalise)
    split = next((name for name in ("train", "fewshot") if name in before), None)
    if split is None:
        return LeakCounts(None, len(test), 0, 0, 0, 0)
    train_before, train_after = (set(frames[split]["text"].map(normalise)) for frames in (before, after))
    near = near_duplicates(set(test), train_before)
    return LeakCounts(
        split,
        len(test),
        exact_before=sum(text in train_before for text in test),
        exact_after=sum(text in train_after for text in test),
        near_before=sum(text not in train_before and bool(near[text]) for text in test),
        near_after=sum(text not in train_after and bool(near[text] & train_after) for text in test),
    )


def near_duplicates(queries: set[str], corpus: set[str], threshold: float = NEAR_THRESHOLD) -> dict[str, set[str]]:
    """For each query, the other texts of the corpus that are near-duplicates of it.

    MinHash and locality-sensitive hashing propose candidates; each is then measured exactly.

    Args:
        queries: normalised texts.
        corpus: normalised texts.
        threshold: minimum Jaccard similarity of character 5-grams, 0 to 1.
    """
    from datasketch import MinHashLSH

    index = MinHashLSH(threshold=min(threshold, _CANDIDATE_THRESHOLD), num_perm=_PERMUTATIONS)
    ordered = sorted(corpus)
    with index.insertion_session() as session:
        for text, sketch in zip(ordered, _sketches(ordered), strict=True):
            session.insert(text, sketch, check_duplication=False)
    ordered = sorted(queries)
    candidates = {text: set(index.query(sketch)) for text, sketch in zip(ordered, _sketches(ordered), strict=True)}
    return {text: _similar(text, others, threshold) for text, others in candidates.items()}


def _similar(text: str, candidates: set[str], threshold: float) -> set[str]:
    shingles = _shingles(text)
    return {other for other in candidates - {text} if _jaccard(shingles, _shingles(other)) >= threshold}


def _jaccard(first: set[bytes], second: set[bytes]) -> float:
    return len(first & second) / len(first | second)


def _shingles(text: str) -> set[bytes]:
    last = max(1, len(text) - _SHINGLE + 1)
    return {text[start : start + _SHINGLE].encode() for start in range(last)}


def _sketches(texts: list[str]) -> "list[MinHash]":
    from datasketch import MinHash

    sketches: list[MinHash] = MinHash.bulk(
        [_shingles(text) for text in texts], num_perm=_PERMUTATIONS, hashfunc=crc32, seed=1
    )
    return sketches
