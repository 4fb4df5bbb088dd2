"""The default cleaning: no text of a held-out split may stand in a split one learns from."""

from collections.abc import Mapping

import pandas as pd

from fin_plugins.data.normalise import normalise

# For each split, the splits whose texts it must not hold. Test sets stay as published.
_HELD_OUT = {"validation": ("test",), "train": ("test", "validation"), "fewshot": ("test",)}


# The data set that leaks on purpose: it repeats the paper's split, leak and all.
UNCLEANED = frozenset({"finred_paper"})


def clean(splits: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Drop the train, validation and few-shot rows whose normalised text is empty or stands in a held-out split.

    Args:
        splits: one frame a split, each with a `text` column; row order is kept, `test` is never touched.

    Returns:
        The same splits without those rows.
    """
    texts = {split: frame["text"].map(normalise) for split, frame in splits.items()}
    cleaned = {}
    for split, frame in splits.items():
        others = [set(texts[other]) for other in _HELD_OUT.get(split, ()) if other in texts]
        unwanted = set().union(*others) | ({""} if split in _HELD_OUT else set())
        cleaned[split] = frame[~texts[split].isin(unwanted)].reset_index(drop=True)
    return cleaned
