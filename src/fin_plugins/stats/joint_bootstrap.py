"""One bootstrap for many models scored on the same documents.

Every replicate draws documents once and scores all models on them, so intervals, differences, means and ranks of any of
the models come from the same replicates. With many models hardly two documents share the gold label and every answer,
so counts are drawn per document, not per confusion cell as in `bootstrap`, and a sparse product adds them up to each
model's margins: time grows with documents times models times draws, whatever the number of labels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fin_plugins.stats.metrics import Floats, Indices, index_arrays, scores_from_margins

_CHUNK = 300_000  # figures of one kind in memory at once, about a megabyte: more would not fit the cache


@dataclass(frozen=True)
class JointScores:
    """The four metrics (acc, weighted F1, macro F1, MCC) of many models on the same documents.

    Attributes:
        observed: on the documents themselves, shape (models, 4).
        replicates: on each draw of documents, shape (models, 4, draws), in 32 bits.
    """

    observed: NDArray[np.float64]
    replicates: NDArray[np.float32]


def resample(
    gold: Indices,
    answers: Sequence[Sequence[int]] | NDArray[np.int64],
    n_labels: int,
    *,
    draws: int = 10_000,
    seed: int | Sequence[int] = 20241102,
) -> JointScores:
    """Score all models on the documents, and on `draws` samples of them drawn with replacement.

    The draws depend on the number of documents and the seed alone, so a model's replicates do not depend on the other
    models.

    Args:
        gold: Gold label indices, shape (n,).
        answers: Each model's answers, shape (models, n), in the order of `gold`; negative is outside the label set.
        n_labels: Size of the label set.
        draws: Bootstrap replicates.
        seed: Equal documents, draws and seed give equal results. Give unrelated sets of documents different seeds,
            or their replicates will be correlated.

    Raises:
        ValueError: If there is no document or no model, the lengths differ, or an index is not in the label set.
    """
    counter = _MarginCounter.from_answers(gold, answers, n_labels)
    observed = scores_from_margins(*counter.margins(np.ones((counter.documents, 1))))[:, :, 0]
    replicates, start = np.empty((*observed.shape, draws), dtype=np.float32), 0
    for counts in _document_counts(counter, draws, seed):
        stop = start + counts.shape[1]
        replicates[:, :, start:stop] = scores_from_margins(*counter.margins(counts))
        start = stop
    return JointScores(observed, replicates)


@dataclass(frozen=True)
class _MarginCounter:
    """Sparse 0/1 matrices, one row per model and label and one column per document, that sum counts to margins."""

    models: int
    n_labels: int
    documents: int
    hits: sparse.csr_matrix
    wrong: sparse.csr_matrix
    golds: sparse.csr_matrix

    @classmethod
    def from_answers(
        cls, gold: Indices, answers: Sequence[Sequence[int]] | NDArray[np.int64], n_labels: int
    ) -> "_MarginCounter":
        """The matrices of these answers.

        Raises:
            ValueError: As `resample` says.
        """
        if not len(gold) or not len(answers):
            raise ValueError(f"{len(gold)} documents and {len(answers)} models: nothing to resample")
        truth = index_arrays(gold, gold, n_labels)[0]
        predicted = np.stack([index_arrays(gold, of_model, n_labels)[1] for of_model in answers])
        models, documents = predicted.shape
        model, document = np.indices(predicted.shape)
        right = predicted == truth
        hits = _indicators(model[right] * n_labels + predicted[right], document[right], (models * n_labels, documents))
        row = model * (n_labels + 1) + predicted % (n_labels + 1)  # OUTSIDE, -1, is the last
        wrong = _indicators(row[~right], document[~right], (models * (n_labels + 1), documents))
        golds = _indicators(truth, np.arange(documents), (n_labels, documents))
        return cls(models, n_labels, documents, hits, wrong, golds)

    def margins(self, counts: Floats) -> tuple[Floats, Floats, Floats]:
        """What `scores_from_margins` takes, from how often each document is drawn, shape (documents, draws)."""
        hits = (self.hits @ counts).reshape(self.models, self.n_labels, -1)
        answers = (self.wrong @ counts).reshape(self.models, self.n_labels + 1, -1)
        answers[:, :-1] += hits  # wrong answers alone are the smaller product
        return hits, self.golds @ counts, answers


def _indicators(rows: NDArray[np.int64], columns: NDArray[np.int64], shape: tuple[int, int]) -> sparse.csr_matrix:
    return sparse.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape)


def _document_counts(counter: _MarginCounter, draws: int, seed: int | Sequence[int]) -> Iterator[NDArray[np.float32]]:
    """How often each document is drawn, in chunks of shape (documents, some of the draws)."""
    rng, documents = np.random.default_rng(seed), counter.documents
    size = max(1, _CHUNK // max(documents, counter.models * (counter.n_labels + 1)))
    for start in range(0, draws, size):
        rows = min(size, draws - start)
        picks = rng.integers(documents, size=(rows, documents)) + np.arange(rows)[:, None] * documents
        counts = np.bincount(picks.ravel(), minlength=rows * documents).reshape(rows, documents)
        yield np.ascontiguousarray(counts.T, dtype=np.float32)
