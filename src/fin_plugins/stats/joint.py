"""Many models on the same documents: one bootstrap for all of them.

Every replicate draws documents once and scores all models on them, so that intervals, differences, means and ranks of
any of the models come from the same replicates. It is the bootstrap over confusion cells of `bootstrap` and `paired`
carried on to any number of models: a cell is then the gold label with every model's answer, and with many models there
is hardly a document that shares its cell with another. So counts are drawn by document, and a sparse product adds them
up to each model's margins: time grows with documents times models times draws, whatever the number of labels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fin_plugins.stats.margins import Floats, scores_from_margins
from fin_plugins.stats.metrics import Indices, checked

_CHUNK = 300_000  # figures of one kind held at once, about a megabyte: larger ones leave the cache and are slower


@dataclass(frozen=True)
class Joint:
    """The four metrics (acc, weighted F1, macro F1, MCC) of many models on the same documents.

    Attributes:
        observed: on the documents as they are, shape (models, 4).
        replicates: on each draw of documents, shape (models, 4, draws), in 32 bits: seven digits are plenty here.
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
) -> Joint:
    """Score all models on the documents, and on `draws` samples of them, drawn with replacement.

    What is drawn depends on the number of documents and the seed alone: a model's replicates are the same whichever
    other models stand beside it.

    Args:
        gold: Gold label indices, shape (n,).
        answers: Each model's answers, shape (models, n), in the order of `gold`; negative is outside the label set.
        n_labels: Size of the label set.
        draws: Bootstrap replicates.
        seed: Same documents, draws and seed: same result. Columns of documents that have nothing in common need
            different seeds, or their replicates would rise and fall together.

    Raises:
        ValueError: If there is no document or no model, the lengths differ, or an index is not in the label set.
    """
    margins = _margins(gold, answers, n_labels)
    once = scores_from_margins(*margins.count(np.ones((margins.documents, 1))))[:, :, 0]
    replicates, start = np.empty((*once.shape, draws), dtype=np.float32), 0
    for drawn in _drawn(margins, draws, seed):
        stop = start + drawn.shape[1]
        replicates[:, :, start:stop] = scores_from_margins(*margins.count(drawn))
        start = stop
    return Joint(once, replicates)


@dataclass(frozen=True)
class _Margins:
    """Which documents count where: sparse matrices of ones, a row a model and label, a column a document."""

    models: int
    n_labels: int
    documents: int
    hits: sparse.csr_matrix
    wrong: sparse.csr_matrix
    golds: sparse.csr_matrix

    def count(self, drawn: Floats) -> tuple[Floats, Floats, Floats]:
        """The margins of how often each document is drawn, shape (documents, draws), as `scores_from_margins` wants."""
        hits = (self.hits @ drawn).reshape(self.models, self.n_labels, -1)
        said = (self.wrong @ drawn).reshape(self.models, self.n_labels + 1, -1)
        said[:, :-1] += hits  # wrong answers alone are the smaller product
        return hits, self.golds @ drawn, said


def _margins(gold: Indices, answers: Sequence[Sequence[int]] | NDArray[np.int64], n_labels: int) -> _Margins:
    """The matrices of these answers.

    Raises:
        ValueError: As `resample` says.
    """
    if not len(gold) or not len(answers):
        raise ValueError(f"{len(gold)} documents and {len(answers)} models: nothing to resample")
    truth = checked(gold, gold, n_labels)[0]
    said = np.stack([checked(gold, one, n_labels)[1] for one in answers])
    models, documents = said.shape
    model, document = np.indices(said.shape)
    right = said == truth
    hits = _ones(model[right] * n_labels + said[right], document[right], (models * n_labels, documents))
    row = model * (n_labels + 1) + said % (n_labels + 1)  # OUTSIDE, -1, is the last
    wrong = _ones(row[~right], document[~right], (models * (n_labels + 1), documents))
    golds = _ones(truth, np.arange(documents), (n_labels, documents))
    return _Margins(models, n_labels, documents, hits, wrong, golds)


def _ones(rows: NDArray[np.int64], columns: NDArray[np.int64], shape: tuple[int, int]) -> sparse.csr_matrix:
    return sparse.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape)


def _drawn(margins: _Margins, draws: int, seed: int | Sequence[int]) -> Iterator[NDArray[np.float32]]:
    """How often each document is drawn: multinomial counts, shape (documents, some of the draws)."""
    rng, documents = np.random.default_rng(seed), margins.documents
    size = max(1, _CHUNK // max(documents, margins.models * (margins.n_labels + 1)))
    for start in range(0, draws, size):
        rows = min(size, draws - start)
        picks = rng.integers(documents, size=(rows, documents)) + np.arange(rows)[:, None] * documents
        counts = np.bincount(picks.ravel(), minlength=rows * documents).reshape(rows, documents)
        yield np.ascontiguousarray(counts.T, dtype=np.float32)
