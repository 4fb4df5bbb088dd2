"""Standard errors of one task: `standard_errors` against lm-eval's method, resampling documents with scikit-learn.

lm-eval (0.4.13, `api/metrics.py`) draws documents with `random.choices` and computes the metric on each draw, one
metric after another. Here that is done for the three metrics that need a bootstrap; the time of a few hundred draws is
extrapolated to 10,000. Prints JSON with CPU seconds, which other load on the machine affects less than wall time.
"""

import json
import random
import statistics
import time

import numpy as np
from sklearn.metrics import f1_score, matthews_corrcoef

from fin_plugins.stats.bootstrap import standard_errors
from fin_plugins.stats.metrics import confusion

DRAWS = 10_000
TASKS = {"fin_fomc": (3, 496), "fin_finred": (29, 1_488)}  # labels, test rows
METRICS = (
    lambda gold, answers: f1_score(gold, answers, average="weighted", zero_division=0),
    lambda gold, answers: f1_score(gold, answers, average="macro", zero_division=0),
    matthews_corrcoef,
)


def random_answers(n_labels: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Gold labels as unbalanced as real ones, and the answers of a model that knows about six in ten."""
    rng = np.random.default_rng(7)
    share = 1 / np.arange(1, n_labels + 1)
    gold = rng.choice(n_labels, size=rows, p=share / share.sum())
    return gold, np.where(rng.random(rows) < 0.6, gold, rng.integers(n_labels, size=rows))


def standard_errors_seconds(gold: np.ndarray, answers: np.ndarray, n_labels: int) -> float:
    """CPU seconds of all four standard errors, median of five; a new seed each time, because results are cached."""
    table, seconds = confusion(gold, answers, n_labels), []
    for seed in range(5):
        start = time.process_time()
        standard_errors(table, draws=DRAWS, seed=seed)
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def resampling_seconds(gold: np.ndarray, answers: np.ndarray, draws: int = 200) -> float:
    """CPU seconds of the three metrics' standard errors by resampling documents, extrapolated from `draws`."""
    documents, rng = list(zip(gold.tolist(), answers.tolist(), strict=True)), random.Random(7)
    start = time.process_time()
    for metric in METRICS:
        for _ in range(draws):
            metric(*map(np.asarray, zip(*rng.choices(documents, k=len(documents)), strict=True)))
    return (time.process_time() - start) * DRAWS / draws


def main() -> None:
    """Measure both ways for each task and print JSON."""
    figures = {}
    for task, (n_labels, rows) in TASKS.items():
        gold, answers = random_answers(n_labels, rows)
        figures[task] = {
            "cells": int(np.count_nonzero(confusion(gold, answers, n_labels))),
            "ours": standard_errors_seconds(gold, answers, n_labels),
            "theirs": resampling_seconds(gold, answers),
        }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
