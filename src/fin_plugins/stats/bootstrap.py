"""Bootstrap standard errors of the four metrics, from a confusion matrix alone.

All metrics are functions of the confusion counts, so resampling n documents with replacement is the same as drawing n
documents from a multinomial over the matrix's non-zero cells: same distribution, a small part of the cost. lm-eval's
own bootstrap takes minutes per metric (its `stderr_for_metric`, 0.4.13).
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fin_plugins.stats.metrics import NO_SCORES, Floats, Scores, scores_from_margins

_CHUNK_CELLS = 500_000  # counts in memory at once: about 10 MB


def standard_errors(confusion: NDArray[np.int64], draws: int = 10_000, seed: int = 20241102) -> Scores:
    """Estimate each metric's standard error by the bootstrap over documents.

    Args:
        confusion: Counts, shape (n_labels, n_labels + 1), as returned by `metrics.confusion`.
        draws: Bootstrap replicates; with 10,000 the Monte Carlo error of the result is about 0.7 %.
        seed: Equal counts, draws and seed give equal results.

    Returns:
        Standard deviation (ddof=1) of each metric over the replicates, in the metric's own unit; nan for fewer than
        two documents or draws.

    Raises:
        ValueError: If the shape is not (n, n + 1) or a count is negative.
    """
    table = np.ascontiguousarray(confusion, dtype=np.int64)
    if table.ndim != 2 or table.shape[1] != table.shape[0] + 1 or table.min(initial=0) < 0:
        raise ValueError(f"confusion counts must be at least 0 with shape (n, n + 1), not {table.shape}")
    return _standard_errors(table.tobytes(), table.shape[0], draws, seed)


@lru_cache(maxsize=256)
def _standard_errors(counts: bytes, n_labels: int, draws: int, seed: int) -> Scores:
    """Cached, because lm-eval asks for each metric of a task separately."""
    table = np.frombuffer(counts, dtype=np.int64).reshape(n_labels, n_labels + 1)
    total = int(table.sum())
    if total < 2 or draws < 2:
        return NO_SCORES
    gold, answers = np.nonzero(table)
    shares, rng = table[gold, answers] / total, np.random.default_rng(seed)
    size = max(1, _CHUNK_CELLS // len(shares))
    chunks = (
        rng.multinomial(total, shares, size=min(size, draws - start)).astype(np.float64)
        for start in range(0, draws, size)
    )
    replicates = np.concatenate([scores_from_counts(chunk, gold, answers, n_labels) for chunk in chunks])
    return Scores(*(float(spread) for spread in replicates.std(axis=0, ddof=1)))


def scores_from_counts(
    counts: Floats, gold: NDArray[np.int64], answers: NDArray[np.int64], n_labels: int
) -> NDArray[np.float64]:
    """The four metrics of many confusion matrices with the same non-zero cells, equal to `metrics.scores`.

    Args:
        counts: Documents per cell, shape (draws, cells); whole numbers, at least one document per draw.
        gold: Gold label of each cell, shape (cells,).
        answers: Answer of each cell, shape (cells,); n_labels is outside the label set.
        n_labels: Size of the label set.

    Returns:
        acc, weighted F1, macro F1 and MCC, shape (draws, 4).
    """
    labels = np.arange(n_labels + 1)[:, None]
    is_gold, is_answer = gold == labels[:-1], answers == labels
    margins = np.matmul(np.vstack([is_gold & is_answer[:-1], is_gold, is_answer]).astype(counts.dtype), counts.T)
    return scores_from_margins(*np.split(margins, [n_labels, 2 * n_labels])).T
