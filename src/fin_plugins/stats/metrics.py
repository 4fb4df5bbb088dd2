"""The four metrics every task reports, over label indices.

Gold labels are indices into the task's label set. Predictions are indices too; a negative prediction is an answer
outside the label set (`fin_plugins.tasks.parser.MISSING` or `AMBIGUOUS`), which never matches and is never dropped.
All scores are shares between 0 and 1, except MCC (-1 to 1), and come from scikit-learn, which is imported at the first
score: task files name this module, and its import would take two seconds of every start of lm-eval.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = Sequence[int] | NDArray[np.int64]

OUTSIDE = -1
"""The one extra class that every answer outside the label set is scored as."""


@dataclass(frozen=True)
class Scores:
    """The four metrics, or one figure for each of them (such as their standard errors).

    Attributes:
        acc: Share of documents with the right label.
        weighted_f1: F1 a label, averaged by the label's share of the gold labels (the paper's metric).
        macro_f1: F1 a label, unweighted mean over the full label set: a label never seen nor predicted counts as 0.
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

    truth, answers = checked(gold, predicted, n_labels)
    if not len(truth):
        return NO_SCORES
    weighted, macro = (
        float(f1_score(truth, answers, labels=range(n_labels), average=average, zero_division=0))
        for average in ("weighted", "macro")
    )
    return Scores(float(accuracy_score(truth, answers)), weighted, macro, _mcc(truth, answers))


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
    truth, answers = checked(gold, predicted, n_labels)
    counts = np.zeros((n_labels, n_labels + 1), dtype=np.int64)
    np.add.at(counts, (truth, answers), 1)  # OUTSIDE, -1, is the last column
    return counts


def majority_floor(gold: Sequence[int], n_labels: int) -> Scores:
    """Score the constant answer "the most frequent gold label": what any useful model must beat.

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


def checked(gold: Indices, predicted: Indices, n_labels: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both as arrays, shape (n,), every answer outside the label set mapped to `OUTSIDE`.

    Raises:
        ValueError: If the lengths differ or an index does not belong to the label set.
    """
    truth, answers = np.asarray(gold, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    if truth.shape != answers.shape or truth.ndim != 1:
        raise ValueError(f"{truth.size} gold labels but {answers.size} predictions: one of each a document is needed")
    if truth.size and not (truth.min() >= 0 and truth.max() < n_labels and answers.max() < n_labels):
        raise ValueError(f"a label index is outside the label set of {n_labels}; only predictions may be negative")
    return truth, np.where(answers < 0, OUTSIDE, answers)


def _mcc(truth: NDArray[np.int64], answers: NDArray[np.int64]) -> float:
    """MCC, 0 where it is undefined; scikit-learn warns when it sees one label only, which is no fault here."""
    from sklearn.metrics import matthews_corrcoef

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="A single label was found", category=UserWarning)
        return float(matthews_corrcoef(truth, answers))
