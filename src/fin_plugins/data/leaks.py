"""How many test rows stand in the rows one learns from: exactly (normalised), and nearly (shingles)."""

from collections.abc import Mapping
from dataclasses import dataclass
from zlib import crc32

import pandas as pd
from datasketch import MinHash, MinHashLSH

from fin_plugins.data.normalise import normalise

# Two texts are near-duplicates where the Jaccard similarity of their character 5-grams is at least this.
THRESHOLD = 0.8
WHY_NEAR_RISES = (
    "near can rise while exact falls: a test row counts once, as exact before near, and a row whose equal text was "
    "taken out of train counts as near from then on where a text that is nearly the same stays"
)
_SHINGLE = 5
_PERMUTATIONS = 64
# The index is asked for more than is wanted, and every candidate is then measured exactly.
_CANDIDATES = 0.6


@dataclass(frozen=True)
class Leaks:
    """Test rows whose text stands in the train (or few-shot) split.

    Attributes:
        split: the split compared with test, or None where there is none.
        test: test rows.
        exact_before: test rows with an equal normalised text there, before cleaning.
        exact_after: the same after cleaning.
        near_before: test rows with a near-duplicate but no equal text there, before cleaning.
        near_after: the same after cleaning.
    """

    split: str | None
    test: int
    exact_before: int
    exact_after: int
    near_before: int
    near_after: int


def count(before: Mapping[str, pd.DataFrame], after: Mapping[str, pd.DataFrame]) -> Leaks:
    """Count the test rows of a data set that leak, before and after its cleaning.

    Args:
        before: one frame a split, column `text`, as published.
        after: the same splits after cleaning; `after` train rows are a subset of `before`.
    """
    test = before["test"]["text"].map(normalise)
    split = next((name for name in ("train", "fewshot") if name in before), None)
    if split is None:
        return Leaks(None, len(test), 0, 0, 0, 0)
    learnt, kept = (set(frames[split]["text"].map(normalise)) for frames in (before, after))
    near = near_duplicates(set(test), learnt)
    return Leaks(
        split,
        len(test),
        exact_before=sum(text in learnt for text in test),
        exact_after=sum(text in kept for text in test),
        near_before=sum(text not in learnt and bool(near[text]) for text in test),
        near_after=sum(text not in kept and bool(near[text] & kept) for text in test),
    )


def near_duplicates(queries: set[str], corpus: set[str], threshold: float = THRESHOLD) -> dict[str, set[str]]:
    """Return for each query the other texts of the corpus that are near-duplicates of it.

    MinHash and locality-sensitive hashing propose candidates; each is then measured exactly.

    Args:
        queries: normalised texts.
        corpus: normalised texts.
        threshold: Jaccard similarity of character 5-grams, 0 to 1, from which two texts count.
    """
    index = MinHashLSH(threshold=min(threshold, _CANDIDATES), num_perm=_PERMUTATIONS)
    ordered = sorted(corpus)
    with index.insertion_session() as session:
        for text, sketch in zip(ordered, _sketches(ordered), strict=True):
            session.insert(text, sketch, check_duplication=False)
    asked = sorted(queries)
    found = zip(asked, _sketches(asked), strict=True)
    return {text: _measured(text, set(index.query(sketch)), threshold) for text, sketch in found}


def _measured(text: str, candidates: set[str], threshold: float) -> set[str]:
    own = _shingles(text)
    return {other for other in candidates - {text} if _jaccard(own, _shingles(other)) >= threshold}


def _jaccard(one: set[bytes], other: set[bytes]) -> float:
    return len(one & other) / len(one | other)


def _shingles(text: str) -> set[bytes]:
    last = max(1, len(text) - _SHINGLE + 1)
    return {text[start : start + _SHINGLE].encode() for start in range(last)}


def _sketches(texts: list[str]) -> list[MinHash]:
    sketches: list[MinHash] = MinHash.bulk(
        [_shingles(text) for text in texts], num_perm=_PERMUTATIONS, hashfunc=crc32, seed=1
    )
    return sketches
