"""Splits that are ours (or FLARE's) to make: all from fixed seeds, on numpy's frozen `RandomState` stream."""

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from fin_plugins.data.normalise import normalise

SEED = 42


def shuffled(frame: pd.DataFrame, seed: int = SEED) -> pd.DataFrame:
    """Return the rows in the random order that the seed fixes."""
    order = np.random.RandomState(seed).permutation(len(frame))
    return frame.iloc[order].reset_index(drop=True)


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
