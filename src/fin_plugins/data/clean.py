"""The default cleaning: no text of a held-out split may stand in a split one learns from."""

from collections.abc import Mapping

import pandas as pd

from fin_plugins.data.normalise import normalise

# For each split, the splits whose texts it must not hold. Test sets stay as published.
_HELD_OUT = {"validation": ("test",), "train": ("test", "validation"), "fewshot": ("test",)}


def clean(splits: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Drop the train, validation and few-shot rows whose normalised text stands in a held-out split.

    Args:
        splits: one frame a split, each with a `text` column; row order is kept, `test` is never touched.

    Returns:
        The same splits without the leaking rows.
    """
    texts = {split: frame["text"].map(normalise) for split, frame in splits.items()}
    cleaned = {}
    for split, frame in splits.items():
        others = [set(texts[other]) for other in _HELD_OUT.get(split, ()) if other in texts]
        leaking = texts[split].isin(set().union(*others))
        cleaned[split] = frame[~leaking].reset_index(drop=True)
    return cleaned
