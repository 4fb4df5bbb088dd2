"""The four metrics of every task, from label indices or from counts.

Gold labels are indices into the task's label set. Predictions are indices too; a negative prediction is an answer
outside the label set (`fin_plugins.tasks.label_parser.MISSING` or `AMBIGUOUS`), which never matches and is never
dropped. All scores lie between 0 and 1, except MCC (-1 to 1).

`scores` uses scikit-learn, imported on first use because it adds two seconds to the start of lm-eval.
`scores_from_margins` computes the same figures for many confusion matrices at once.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = Sequence[int] | NDArray[np.int64]
Floats = NDArray[np.float32] | NDArray[np.float64]

OUTSIDE = -1
"""The extra class that every answer outside the label set is scored as."""


@dataclass(frozen=True)
class Scores:
    """The four metrics, or one figure for each of them, such as their standard errors.

    Attributes:
        acc: Share of documents with the right label.
        weighted_f1: F1 per label, averaged by the label's share of the gold labels (the paper's metric).
        macro_f1: F1 per label, unweighted mean over the full label set: a label never seen nor predicted counts as 0.
        mcc: Matthews correlation coefficient, with answers outside the label set as one more class.
    """

    acc: float
    weighted_f1: float
    macro_f1: float
    mcc: float


NO_SCORES = Scores(float("nan"), float("nan"), float("nan"), float("nan"))
"""What cannot be computed: nan, because a 0.0 would read as a result."""


def scores(gold: Sequence[int], predicted: Sequence[int], n_labels: int) -> Scores:
    """Score predictions against gold labels.

    Args:
        gold: Gold label indices, shape (n,), each in range(n_labels).
        predicted: Predicted label indices, shape (n,), each below n_labels; negative is outside the label set.
        n_labels: Size of the task's full label set.

    Returns:
        The four metrics; all nan without documents. MCC is 0 where it is undefined (one class only).

    Raises:
        ValueError: If the lengths differ or an index does not belong to the label set.
    """
    from sklearn.metrics import accuracy_score, f1_score

    truth, answers = index_arrays(gold, predicted, n_labels)
    if not len(truth):
        return NO_SCORES
    weighted, macro = (
        float(f1_score(truth, answers, labels=range(n_labels), average=average, zero_division=0))
        for average in ("weighted", "macro")
    )
    return Scores(float(accuracy_score(truth, answers)), weighted, macro, _mcc(truth, answers))


def majority_floor(gold: Sequence[int], n_labels: int) -> Scores:
    """Score the constant answer "the most frequent gold label", which any useful model must beat.

    Args:
        gold: Gold label indices, shape (n,).
        n_labels: Size of the label set.

    Returns:
        The four metrics (MCC is 0); all nan without documents.

    Raises:
        ValueError: If an index does not belong to the label set.
    """
    sizes = confusion(gold, gold, n_labels).sum(axis=1)
    return scores(gold, [int(sizes.argmax())] * len(gold), n_labels) if len(gold) else NO_SCORES


def confusion(gold: Indices, predicted: Indices, n_labels: int) -> NDArray[np.int64]:
    """Count documents by gold label and answer.

    Args:
        gold: Gold label indices, shape (n,).
        predicted: Predicted label indices, shape (n,); negative is outside the label set.
        n_labels: Size of the label set.

    Returns:
        Counts, shape (n_labels, n_labels + 1): row gold, column answer, last column answers outside the label set.

    Raises:
        ValueError: If the lengths differ or an index does not belong to the label set.
    """
    truth, answers = index_arrays(gold, predicted, n_labels)
    counts = np.zeros((n_labels, n_labels + 1), dtype=np.int64)
    np.add.at(counts, (truth, answers), 1)  # OUTSIDE, -1, is the last column
    return counts


def index_arrays(gold: Indices, predicted: Indices, n_labels: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both as arrays, shape (n,), with every answer outside the label set mapped to `OUTSIDE`.

    Raises:
        ValueError: If the lengths differ or an index does not belong to the label set.
    """
    truth, answers = np.asarray(gold, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    if truth.shape != answers.shape or truth.ndim != 1:
        raise ValueError(f"{truth.size} gold labels but {answers.size} predictions: each document needs one of each")
    if truth.size and not (truth.min() >= 0 and truth.max() < n_labels and answers.max() < n_labels):
        raise ValueError(f"a label index is outside the label set of {n_labels}; only predictions may be negative")
    return truth, np.where(answers < 0, OUTSIDE, answers)


def scores_from_margins(hits: Floats, golds: Floats, answers: Floats) -> NDArray[np.float64]:
    """The four metrics of many confusion matrices, equal to `scores`, from three counts per label.

    Args:
        hits: Right answers by label, shape (…, labels, draws); whole numbers, as are the others.
        golds: Documents by gold label, shape (…, labels, draws); at least one document per draw.
        answers: Answers by label, shape (…, labels + 1, draws); the last counts answers outside the label set.

    Returns:
        acc, weighted F1, macro F1 and MCC, shape (…, 4, draws).
    """
    total, right = (counts.sum(axis=-2).astype(np.float64) for counts in (golds, hits))
    f1 = 2 * hits / np.maximum(golds + answers[..., :-1, :], 1)  # a label that occurs nowhere: 0 / 1
    macro = f1.mean(axis=-2, dtype=np.float64)
    mcc = _mcc_from_margins(right, total, golds, answers)
    return np.stack([right / total, _sum_of_products(golds, f1) / total, macro, mcc], axis=-2)


def _mcc(truth: NDArray[np.int64], answers: NDArray[np.int64]) -> float:
    """MCC, 0 where it is undefined; scikit-learn's warning about a single label is silenced."""
    from sklearn.metrics import matthews_corrcoef

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="A single label was found", category=UserWarning)
        return float(matthews_corrcoef(truth, answers))


def _mcc_from_margins(
    right: NDArray[np.float64], total: NDArray[np.float64], golds: Floats, answers: Floats
) -> NDArray[np.float64]:
    """Multi-class MCC (Gorodkin 2004), shape (…, draws); 0 where one side is constant, as in scikit-learn."""
    spread = (total**2 - _sum_of_products(golds, golds)) * (total**2 - _sum_of_products(answers, answers))
    agreement = right * total - _sum_of_products(golds, answers[..., :-1, :])
    return np.where(spread > 0, agreement / np.sqrt(np.where(spread > 0, spread, 1)), 0.0)


def _sum_of_products(first: Floats, second: Floats) -> NDArray[np.float64]:
    """The sum over labels, in 64 bits: the products are too large to be exact in 32."""
    products: NDArray[np.float64] = np.einsum("...ij,...ij->...j", first, second, dtype=np.float64)
    return products
