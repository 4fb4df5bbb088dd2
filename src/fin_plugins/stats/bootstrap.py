"""Bootstrap standard errors of the four metrics, from a confusion matrix alone.

All metrics are functions of the confusion counts, so resampling n documents with replacement is the same as one
multinomial draw of n over the matrix's non-zero cells: the distribution is exactly that of a document bootstrap at a
small part of its cost. lm-eval's own bootstrap takes minutes a metric (its `stderr_for_metric`, 0.4.13).
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fin_plugins.stats.margins import Floats, scores_from_margins
from fin_plugins.stats.metrics import NO_SCORES, Scores

_CHUNK_CELLS = 500_000  # counts held at once: about 10 MB; threads over chunks were tried and gain nothing
_MANY_CELLS = 40  # from here on `_draw_many_cells` is the quicker way (measured)
_EXACT_IN_FLOAT32 = 2**24
_CODES = 2**16
_TABLE_MEAN = 64  # a larger Poisson mean does not fit a table of bytes
_SPLIT = 255


def standard_errors(confusion: NDArray[np.int64], draws: int = 100_000, seed: int = 20241102) -> Scores:
    """Estimate each metric's standard error by the bootstrap over documents.

    Args:
        confusion: Counts, shape (n_labels, n_labels + 1), as `metrics.confusion` returns them.
        draws: Bootstrap replicates; at 100,000 the result is within about 0.5 % of its limit.
        seed: Same counts, draws and seed: same answer.

    Returns:
        Standard deviation (ddof=1) of each metric over the replicates, in the metric's own unit; nan for fewer than
        two documents or draws, which tell nothing about spread.

    Raises:
        ValueError: If the shape is not (n, n + 1) or a count is negative.
    """
    table = np.ascontiguousarray(confusion, dtype=np.int64)
    if table.ndim != 2 or table.shape[1] != table.shape[0] + 1 or table.min(initial=0) < 0:
        raise ValueError(f"confusion counts must be at least 0 with shape (n, n + 1), not {table.shape}")
    return _standard_errors(table.tobytes(), table.shape[0], draws, seed)


@lru_cache(maxsize=256)
def _standard_errors(counts: bytes, n_labels: int, draws: int, seed: int) -> Scores:
    """Cached, because lm-eval asks for each metric of a task by itself."""
    table = np.frombuffer(counts, dtype=np.int64).reshape(n_labels, n_labels + 1)
    if table.sum() < 2 or draws < 2:
        return NO_SCORES
    gold, answers = np.nonzero(table)
    order = np.argsort(table[gold, answers], kind="stable")  # equal counts side by side, for `_draw_many_cells`
    gold, answers = gold[order], answers[order]
    replicates = _replicates(table[gold, answers], gold, answers, n_labels, draws, seed)
    return Scores(*(float(spread) for spread in replicates.std(axis=0, ddof=1)))


def _replicates(
    cells: NDArray[np.int64],
    gold: NDArray[np.int64],
    answers: NDArray[np.int64],
    n_labels: int,
    draws: int,
    seed: int,
) -> NDArray[np.float64]:
    """The four metrics of every replicate, shape (draws, 4), in chunks so that memory stays small."""
    size, draw, rng = max(1, _CHUNK_CELLS // len(cells)), _drawer(cells), np.random.default_rng(seed)
    chunks = (draw(rng, min(size, draws - start)) for start in range(0, draws, size))
    return np.concatenate([scores_from_counts(counts, gold, answers, n_labels) for counts in chunks])


def scores_from_counts(
    counts: Floats, gold: NDArray[np.int64], answers: NDArray[np.int64], n_labels: int
) -> NDArray[np.float64]:
    """The four metrics of many confusion matrices with the same non-zero cells; equal to `metrics.scores`.

    Args:
        counts: Documents a cell, shape (draws, cells); whole numbers, at least one document a draw.
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


def _drawer(cells: NDArray[np.int64]) -> Callable[[np.random.Generator, int], Floats]:
    """The quicker of two ways to draw multinomial counts, shape (rows, cells), of cells.sum() documents."""
    total = int(cells.sum())
    if len(cells) >= _MANY_CELLS and total < _EXACT_IN_FLOAT32:
        tables = {int(count): _poisson_table(count * _rate(total)) for count in np.unique(cells[cells < _TABLE_MEAN])}
        return lambda rng, rows: _draw_many_cells(rng, rows, cells, tables)
    return lambda rng, rows: rng.multinomial(total, cells / total, size=rows).astype(np.float64)


def _rate(total: int) -> float:
    """The Poisson rate a document: two standard deviations below what would give `total` on average."""
    return max(0.0, 1 - 2 / float(np.sqrt(total)))


Table = tuple[NDArray[np.uint8], NDArray[np.float64]]


def _draw_many_cells(
    rng: np.random.Generator, rows: int, cells: NDArray[np.int64], tables: dict[int, Table]
) -> NDArray[np.float32]:
    """Multinomial counts, shape (rows, cells), several times as fast as numpy's one binomial a cell, and as exact.

    Independent Poisson counts are multinomial given their sum. So: draw them a little too low, draw rows above the
    total again (this depends on the sum only), and add the documents still missing one by one.
    """
    total = int(cells.sum())
    drawn = _poisson_rows(rng, rows, cells, tables)
    missing = total - drawn.sum(axis=1).astype(np.int64)
    while (over := np.flatnonzero(missing < 0)).size:
        drawn[over] = _poisson_rows(rng, over.size, cells, tables)
        missing[over] = total - drawn[over].sum(axis=1).astype(np.int64)
    cell_of = np.repeat(np.arange(len(cells)), cells)
    added = cell_of[rng.integers(total, size=int(missing.sum()))] + np.repeat(np.arange(rows) * len(cells), missing)
    drawn += np.bincount(added, minlength=drawn.size).reshape(drawn.shape)
    return drawn


def _poisson_rows(
    rng: np.random.Generator, rows: int, cells: NDArray[np.int64], tables: dict[int, Table]
) -> NDArray[np.float32]:
    """Independent Poisson counts, shape (rows, cells), of mean count times `_rate`; `cells` is sorted."""
    drawn = np.empty((rows, len(cells)), dtype=np.float32)
    rate = _rate(int(cells.sum()))
    starts = np.flatnonzero(np.diff(cells, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(cells)], strict=True):
        count, shape = int(cells[start]), (rows, int(stop - start))
        table = tables.get(count)
        drawn[:, start:stop] = rng.poisson(count * rate, shape) if table is None else _from_table(rng, table, shape)
    return drawn


def _poisson_table(mean: float) -> Table:
    """The Poisson value of each 16-bit code (`_SPLIT` where the code's interval holds two), and the distribution."""
    value = np.arange(_SPLIT, dtype=np.float64)
    log_factorial = np.cumsum(np.log(np.maximum(value, 1)))
    below = np.cumsum(np.exp(value * np.log(max(mean, 1e-300)) - mean - log_factorial))
    below[-1] = 1.0
    edges = np.arange(_CODES + 1) / _CODES
    first, last = np.searchsorted(below, edges[:-1], "right"), np.searchsorted(below, edges[1:], "left")
    return np.where(first == last, first, _SPLIT).astype(np.uint8), below


def _from_table(rng: np.random.Generator, table: Table, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Poisson counts by inversion: 16 random bits decide nearly always, more are drawn where they do not."""
    values, below = table
    codes = rng.integers(_CODES, size=shape, dtype=np.uint16)
    drawn = values[codes]
    split = drawn == _SPLIT
    drawn[split] = np.searchsorted(below, (codes[split] + rng.random(int(split.sum()))) / _CODES, "right")
    return drawn
