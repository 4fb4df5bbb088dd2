"""Standard errors of one task: `standard_errors` against resampling documents with scikit-learn, as lm-eval does it.

lm-eval (0.4.13, `api/metrics.py`) draws the documents with `random.choices` and calls the metric on each draw, metric
by metric. Here the three metrics that need a bootstrap take the same draws' worth each; the time of a few hundred draws
is multiplied up to 10,000. Prints JSON: CPU seconds, which a busy machine disturbs less than wall time.
"""

import json
import random
import statistics
import time

import numpy as np
from sklearn.metrics import f1_score, matthews_corrcoef

from fin_plugins.stats import bootstrap
from fin_plugins.stats.metrics import confusion

DRAWS = 10_000
TASKS = {"fin_fomc": (3, 496), "fin_finred": (29, 1_488)}  # labels, test rows
METRICS = (
    lambda gold, said: f1_score(gold, said, average="weighted", zero_division=0),
    lambda gold, said: f1_score(gold, said, average="macro", zero_division=0),
    matthews_corrcoef,
)


def pairs(n_labels: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Gold labels as unequal as real ones, and the answers of a middling model: six in ten right."""
    rng = np.random.default_rng(7)
    share = 1 / np.arange(1, n_labels + 1)
    gold = rng.choice(n_labels, size=rows, p=share / share.sum())
    return gold, np.where(rng.random(rows) < 0.6, gold, rng.integers(n_labels, size=rows))


def ours(gold: np.ndarray, said: np.ndarray, n_labels: int) -> float:
    """CPU seconds of all four standard errors, median of five, nothing remembered."""
    table, taken = confusion(gold, said, n_labels), []
    for _ in range(5):
        bootstrap._standard_errors.cache_clear()
        start = time.process_time()
        bootstrap.standard_errors(table, draws=DRAWS)
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def theirs(gold: np.ndarray, said: np.ndarray, draws: int = 200) -> float:
    """CPU seconds of the three metrics' standard errors by resampling documents, multiplied up from `draws`."""
    documents, rng = list(zip(gold.tolist(), said.tolist(), strict=True)), random.Random(7)
    start = time.process_time()
    for metric in METRICS:
        for _ in range(draws):
            metric(*map(np.asarray, zip(*rng.choices(documents, k=len(documents)), strict=True)))
    return (time.process_time() - start) * DRAWS / draws


if __name__ == "__main__":
    found = {}
    for task, (n_labels, rows) in TASKS.items():
        gold, said = pairs(n_labels, rows)
        cells = int(np.count_nonzero(confusion(gold, said, n_labels)))
        found[task] = {"cells": cells, "ours": ours(gold, said, n_labels), "theirs": theirs(gold, said)}
    print(json.dumps(found))
