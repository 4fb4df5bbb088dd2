"""The four metrics from a confusion matrix's margins, for many matrices at once.

Accuracy, both F1s and MCC need no more of a confusion matrix than three counts a label: documents that have it, answers
that name it, and answers that name it rightly. That makes them cheap to compute for every replicate of a bootstrap.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32] | NDArray[np.float64]


def scores_from_margins(hits: Floats, golds: Floats, said: Floats) -> NDArray[np.float64]:
    """The four metrics of many confusion matrices; equal to `metrics.scores`.

    Args:
        hits: Right answers by label, shape (…, labels, draws); whole numbers, as the others are.
        golds: Documents by gold label, shape (…, labels, draws); at least one document a draw.
        said: Answers by label, shape (…, labels + 1, draws); the last is answers outside the label set.

    Returns:
        acc, weighted F1, macro F1 and MCC, shape (…, 4, draws).
    """
    total, right = (one.sum(axis=-2).astype(np.float64) for one in (golds, hits))
    f1 = 2 * hits / np.maximum(golds + said[..., :-1, :], 1)  # nothing there and nothing said: 0 / 1
    macro = f1.mean(axis=-2, dtype=np.float64)
    return np.stack([right / total, _over_labels(golds, f1) / total, macro, _mcc(right, total, golds, said)], axis=-2)


def _mcc(right: NDArray[np.float64], total: NDArray[np.float64], golds: Floats, said: Floats) -> NDArray[np.float64]:
    """Multi-class MCC from margins (Gorodkin 2004), shape (…, draws); 0 where one side is constant, as scikit-learn."""
    spread = (total**2 - _over_labels(golds, golds)) * (total**2 - _over_labels(said, said))
    agreement = right * total - _over_labels(golds, said[..., :-1, :])
    return np.where(spread > 0, agreement / np.sqrt(np.where(spread > 0, spread, 1)), 0.0)


def _over_labels(one: Floats, other: Floats) -> NDArray[np.float64]:
    """The sum over labels of products, which are too large to be exact in 32 bits."""
    products: NDArray[np.float64] = np.einsum("...ij,...ij->...j", one, other, dtype=np.float64)
    return products
