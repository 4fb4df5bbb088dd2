"""Splits that are ours (or FLARE's), all from fixed seeds.

`split_by_text_hash` suits a table that may grow; the other functions draw from numpy's frozen `RandomState` stream,
which assigns all rows anew as soon as one is added.
"""

from collections import Counter
from hashlib import blake2b

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from fin_plugins.data.text_hashes import normalise

SEED = 42
_MAX_SEEDS, _MAX_HASHES = 1_000, 200_000  # `find_seed` takes a second at most
_FREQUENT = 10  # texts of a label from which on each split should have one


def shuffle_rows(frame: pd.DataFrame, seed: int = SEED) -> pd.DataFrame:
    """The rows in the random order that the seed fixes."""
    order = np.random.RandomState(seed).permutation(len(frame))
    return frame.iloc[order].reset_index(drop=True)


def text_position(text: str, seed: int) -> float:
    """A number from 0 to below 1 that depends on the normalised text and the seed alone."""
    hashed = blake2b(f"{seed}\n{normalise(text)}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(hashed, "big") >> 11) / (1 << 53)


def sort_by_text_hash(frame: pd.DataFrame, seed: int = SEED) -> pd.DataFrame:
    """The rows sorted by `text_position`, ties by label and then in the given order.

    Adding rows does not change the order of the others.

    Args:
        frame: rows with `text` and `label`.
        seed: of the positions.
    """
    return _sorted_with_positions(frame, seed)[0]


def _sorted_with_positions(frame: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, list[float]]:
    rows = zip(frame["text"], frame["label"], strict=True)
    keys = [(text_position(text, seed), text, str(label)) for text, label in rows]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return frame.iloc[order].reset_index(drop=True), [keys[number][0] for number in order]


def split_by_text_hash(
    frame: pd.DataFrame, *, seed: int = SEED, test: float, validation: float = 0.0
) -> dict[str, pd.DataFrame]:
    """Split by the positions of the texts, so that each row keeps its split whatever rows are added.

    Sizes are only close to the shares, and label frequencies differ between splits.

    Args:
        frame: rows with `text` and `label`.
        seed: of the positions.
        test: share of the positions, from the lowest on, that is `test`.
        validation: share of the positions, from the highest on, that is `validation`.

    Returns:
        `train`, `test` and, if its share is not 0, `validation`, each sorted by `sort_by_text_hash`.
    """
    ordered, positions = _sorted_with_positions(frame, seed)
    split_of = np.array([_split_at(position, test, validation) for position in positions], dtype=object)
    names = ("train", *(("validation",) if validation else ()), "test")
    return {split: ordered[split_of == split].reset_index(drop=True) for split in names}


def find_seed(frame: pd.DataFrame, start: int, *, test: float, validation: float = 0.0) -> int | None:
    """The first seed from `start` on for which `split_by_text_hash` gives every split rows of every frequent label.

    If a limited search finds none, the first seed that leaves no split empty; None if there is none either.

    Args:
        frame: rows with `text` and `label`.
        start: the first seed to try.
        test: as for `split_by_text_hash`.
        validation: as for `split_by_text_hash`.
    """
    rows = set(zip(frame["text"].map(normalise), frame["label"], strict=True))
    splits = {"test", *(("validation",) if validation else ()), *(("train",) if test + validation < 1 else ())}
    counts = Counter(label for _, label in rows)
    required = {(split, label) for label, count in counts.items() if count >= _FREQUENT for split in splits}
    fallback: int | None = None
    for seed in range(start, start + min(_MAX_SEEDS, 1 + _MAX_HASHES // max(1, len(rows)))):
        covered = {(_split_at(text_position(text, seed), test, validation), label) for text, label in rows}
        if splits <= {split for split, _ in covered}:
            if required <= covered:
                return seed
            fallback = seed if fallback is None else fallback
    return fallback


def _split_at(position: float, test: float, validation: float) -> str:
    return "test" if position < test else "validation" if position >= 1 - validation else "train"


def split_grouped(frame: pd.DataFrame, *, seed: int = SEED, **sizes: int) -> dict[str, pd.DataFrame]:
    """Cut off splits so that no normalised text is in two of them; the rest is `train`.

    Groups of equal text are assigned in a fixed random order, each to the first split with enough room, so sizes are
    met exactly if there are enough small groups.

    Args:
        frame: rows with a `text` column.
        seed: of the order.
        **sizes: rows of each split that is cut off.
    """
    texts = frame["text"].map(normalise)
    counts = texts.value_counts(sort=False)
    room, split_of = dict(sizes), {}
    # As objects: numpy's own strings lose a NUL at their end.
    for text in np.random.RandomState(seed).permutation(np.array(sorted(counts.index), dtype=object)):
        split = next((split for split, free in room.items() if counts[text] <= free), "train")
        split_of[text] = split
        if split in room:
            room[split] -= counts[text]
    assigned = texts.map(split_of)
    return {split: frame[assigned == split].reset_index(drop=True) for split in ("train", *sizes)}


def split_at_random(frame: pd.DataFrame, **sizes: int) -> dict[str, pd.DataFrame]:
    """Cut off splits row by row, whether or not texts are repeated; the rest is `train`."""
    shuffled, splits, start = shuffle_rows(frame), {}, 0
    for split, size in sizes.items():
        splits[split] = shuffled.iloc[start : start + size].reset_index(drop=True)
        start += size
    return {"train": shuffled.iloc[start:].reset_index(drop=True), **splits}


def split_like_flare(frame: pd.DataFrame, test_sizes: dict[str, int]) -> dict[str, pd.DataFrame]:
    """Split Financial PhraseBank as FLARE (and so the paper) did.

    Args:
        frame: all rows in file order.
        test_sizes: test rows per label, in FLARE's order of labels.
    """
    parts = [
        train_test_split(frame[frame["label"] == label], test_size=size, random_state=SEED)
        for label, size in test_sizes.items()
    ]
    rest, test = (pd.concat([part[i] for part in parts]) for i in (0, 1))
    train, validation = train_test_split(rest, test_size=0.2, random_state=SEED)
    splits = {"train": train, "validation": validation, "test": test}
    return {split: rows.reset_index(drop=True) for split, rows in splits.items()}


def split_off_stratified_test(frame: pd.DataFrame, size: int) -> dict[str, pd.DataFrame]:
    """Draw a test set with the label frequencies of all rows; the rest, in file order, is `fewshot`.

    Args:
        frame: all rows.
        size: rows of the test set.
    """
    _, test = train_test_split(frame, test_size=size, random_state=SEED, stratify=frame["label"])
    return {"test": test.reset_index(drop=True), "fewshot": frame.drop(index=test.index).reset_index(drop=True)}
