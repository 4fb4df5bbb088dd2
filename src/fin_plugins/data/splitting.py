"""Splits that are ours (or FLARE's) to make: all from fixed seeds.

A table that may grow is cut by a hash of each text (`by_text`); the other cuts draw from numpy's frozen `RandomState`
stream, which deals the rows anew as soon as there is one more.
"""

from collections import Counter
from hashlib import blake2b

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from fin_plugins.data.normalise import normalise

SEED = 42
SEEDS_TRIED, ROWS_TRIED = 1_000, 200_000
"""Where a seed is looked for: seeds, and rows of all of them together, so that it takes a second at most."""
FREQUENT = 10
"""Texts of a label that each split should then have a row of."""


def shuffled(frame: pd.DataFrame, seed: int = SEED) -> pd.DataFrame:
    """Return the rows in the random order that the seed fixes."""
    order = np.random.RandomState(seed).permutation(len(frame))
    return frame.iloc[order].reset_index(drop=True)


def place(text: str, seed: int) -> float:
    """Where a text stands among all texts: a number from 0 to below 1 that depends on it and the seed alone.

    Args:
        text: any text; two that are the same once they are normalised have one place.
        seed: of the hash.
    """
    hashed = blake2b(f"{seed}\n{normalise(text)}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(hashed, "big") >> 11) / (1 << 53)


def in_order(frame: pd.DataFrame, seed: int = SEED) -> pd.DataFrame:
    """Return the rows by their texts' places; those with one text by their label, else as they stand.

    Whatever rows are added, the others stay in this order.

    Args:
        frame: rows with `text` and `label`.
        seed: of the places.
    """
    return _in_order(frame, seed)[0]


def _in_order(frame: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, list[float]]:
    """The rows in order, and the place of each."""
    rows = zip(frame["text"], frame["label"], strict=True)
    keys = [(place(text, seed), text, str(label)) for text, label in rows]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return frame.iloc[order].reset_index(drop=True), [keys[number][0] for number in order]


def by_text(frame: pd.DataFrame, *, seed: int = SEED, test: float, validation: float = 0.0) -> dict[str, pd.DataFrame]:
    """Cut off splits by the places of the texts, so that each row keeps its split whatever rows are added.

    The sizes only come near the shares, and the shares of the labels differ between splits.

    Args:
        frame: rows with `text` and `label`.
        seed: of the places.
        test: share of the places that is cut off as `test`, from the lowest on.
        validation: share that is cut off as `validation`, from the highest on.

    Returns:
        `train`, `test` and, where there is a share for it, `validation`, each in the order of `in_order`.
    """
    ordered, places = _in_order(frame, seed)
    homes = np.array([_home(where, test, validation) for where in places], dtype=object)
    names = ("train", *(("validation",) if validation else ()), "test")
    return {split: ordered[homes == split].reset_index(drop=True) for split in names}


def first_seed(frame: pd.DataFrame, start: int, *, test: float, validation: float = 0.0) -> int | None:
    """The first seed from `start` on with which `by_text` gives every split rows of every frequent label.

    Where none is found in reasonable time, the first one that leaves no split without rows, and None without such.

    Args:
        frame: rows with `text` and `label`.
        start: the first seed that is tried.
        test: as for `by_text`.
        validation: as for `by_text`.
    """
    rows = set(zip(frame["text"].map(normalise), frame["label"], strict=True))
    splits = {"test", *(("validation",) if validation else ()), *(("train",) if test + validation < 1 else ())}
    counts = Counter(label for _, label in rows)
    frequent = {(split, label) for label, count in counts.items() if count >= FREQUENT for split in splits}
    filled: int | None = None
    for seed in range(start, start + min(SEEDS_TRIED, 1 + ROWS_TRIED // max(1, len(rows)))):
        there = {(_home(place(text, seed), test, validation), label) for text, label in rows}
        if splits <= {split for split, _ in there}:
            if frequent <= there:
                return seed
            filled = seed if filled is None else filled
    return filled


def _home(where: float, test: float, validation: float) -> str:
    return "test" if where < test else "validation" if where >= 1 - validation else "train"


def grouped(frame: pd.DataFrame, *, seed: int = SEED, **sizes: int) -> dict[str, pd.DataFrame]:
    """Cut off splits so that no normalised text stands in two of them; what is left over is `train`.

    Groups of equal text are dealt in a fixed random order, each to the first split that still has room for all of it,
    so a size is met exactly wherever enough small groups remain.

    Args:
        frame: rows with a `text` column.
        seed: of the order.
        **sizes: rows wanted in each split that is cut off.
    """
    texts = frame["text"].map(normalise)
    counts = texts.value_counts(sort=False)
    room, home = dict(sizes), {}
    # As objects: numpy's own strings lose a NUL at their end.
    for text in np.random.RandomState(seed).permutation(np.array(sorted(counts.index), dtype=object)):
        home[text] = next((split for split, free in room.items() if counts[text] <= free), "train")
        if home[text] in room:
            room[home[text]] -= counts[text]
    placed = texts.map(home)
    return {split: frame[placed == split].reset_index(drop=True) for split in ("train", *sizes)}


def at_random(frame: pd.DataFrame, **sizes: int) -> dict[str, pd.DataFrame]:
    """Cut off splits row by row, whatever their texts share; what is left over is `train`."""
    mixed, splits, start = shuffled(frame), {}, 0
    for split, size in sizes.items():
        splits[split] = mixed.iloc[start : start + size].reset_index(drop=True)
        start += size
    return {"train": mixed.iloc[start:].reset_index(drop=True), **splits}


def flare(frame: pd.DataFrame, test_sizes: dict[str, int]) -> dict[str, pd.DataFrame]:
    """Cut Financial PhraseBank as FLARE (and so the paper) did.

    Args:
        frame: all rows in file order.
        test_sizes: test rows wanted of each label, in FLARE's order of labels.
    """
    halves = [
        train_test_split(frame[frame["label"] == label], test_size=size, random_state=SEED)
        for label, size in test_sizes.items()
    ]
    rest, test = (pd.concat([half[i] for half in halves]) for i in (0, 1))
    train, validation = train_test_split(rest, test_size=0.2, random_state=SEED)
    cut = {"train": train, "validation": validation, "test": test}
    return {split: rows.reset_index(drop=True) for split, rows in cut.items()}


def draw(frame: pd.DataFrame, size: int) -> dict[str, pd.DataFrame]:
    """Draw a test set that keeps the shares of the labels; the rest, in file order, is `fewshot`.

    Args:
        frame: all rows.
        size: rows of the test set.
    """
    _, test = train_test_split(frame, test_size=size, random_state=SEED, stratify=frame["label"])
    return {"test": test.reset_index(drop=True), "fewshot": frame.drop(index=test.index).reset_index(drop=True)}
