"""What a candidate is worth: its seen score, what is left without each expert, how far from the base it moved."""

from collections.abc import Mapping, Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from fin_plugins.merging.search.engines import Engine, Factors
from fin_plugins.merging.search.method import Method
from fin_plugins.merging.search.rows import SearchRows
from fin_plugins.merging.search.samplers import Weights
from fin_plugins.merging.search.study import Candidate, Figure
from fin_plugins.stats.intervals import percentile
from fin_plugins.stats.joint import resample

_METRICS = ("acc", "weighted_f1", "macro_f1", "mcc")  # in the order of stats.joint
_DRAWS = 10_000

Answers = Sequence[int]
Replicated = tuple[float, NDArray[np.float64]]
"""A figure, and what it is on each draw of rows."""


class Scorer:
    """Asks the engine, each sum of experts at most once for a task."""

    def __init__(self, engine: Engine, method: Method, rows: SearchRows, metric: str) -> None:
        self._engine, self._method, self._rows = engine, method, rows
        self._metric = _METRICS.index(metric)
        self._known: dict[tuple[tuple[float, ...], str], Answers] = {}
        self._base = dict.fromkeys([expert.name for expert in method.models.experts], 0.0)

    def base(self) -> dict[str, float]:
        """Score the base by task, and remember what it says."""
        self._engine.use(self._base)
        self._engine.remember_base(self._rows.prompts)
        answers = {task: [self._asked(self._base, task)] for task in self._rows.tasks}
        return {task: _rounded(self._replicated(task, asked)[0][0]) for task, asked in answers.items()}

    def candidate(self, number: int, weights: Weights) -> Candidate:
        """Score a candidate; the base has been."""
        whole = self._method.factors(weights)
        seen: dict[str, Replicated] = {}
        left: dict[str, Replicated] = {}
        self._engine.use(whole)
        divergence = self._engine.divergences()
        # All tasks of one sum before the next: changing the sum costs time.
        answers = {task: self._asked(whole, task) for task in self._rows.tasks}
        for expert, tasks in self._rows.experts.items():
            rest = self._method.factors({name: weight for name, weight in weights.items() if name != expert})
            changes = []
            for task in tasks:
                asked = [self._asked(self._base, task), answers[task], self._asked(rest, task)]
                base, seen[task], without = self._replicated(task, asked)
                changes.append((without[0] - base[0], without[1] - base[1]))
            left[expert] = _mean(changes)
        worst = min(left, key=lambda expert: left[expert][0])
        return Candidate(
            candidate=number,
            weights=weights,
            seen=_figure(_mean(list(seen.values()))),
            tasks={task: _rounded(score) for task, (score, _) in seen.items()},
            leave_out=_figure(left[worst]),
            worst=worst,
            left_out={expert: _rounded(change) for expert, (change, _) in left.items()},
            divergence=_figure(_mean_of_prompts(divergence)),
        )

    def _asked(self, factors: Factors, task: str) -> Answers:
        # A task is always asked by itself: what shares a batch may round otherwise, and a resumed search must not.
        key = (tuple(factors.values()), task)
        if key not in self._known:
            self._engine.use(factors)
            self._known[key] = self._engine.answers(self._rows.tasks[task])
        return self._known[key]

    def _replicated(self, task: str, answers: Sequence[Answers]) -> list[Replicated]:
        """The metric of each model, on the rows and on the same draws of them."""
        rows = self._rows.tasks[task]
        joint = resample(rows.gold, answers, rows.labels, draws=_DRAWS, seed=crc32(task.encode("utf-8")))
        figures = zip(joint.observed[:, self._metric], joint.replicates[:, self._metric], strict=True)
        return [(float(score), draws.astype(np.float64)) for score, draws in figures]


def _mean(figures: Sequence[Replicated]) -> Replicated:
    """The unweighted mean over tasks, whose rows are drawn independently."""
    return float(np.mean([score for score, _ in figures])), np.mean([draws for _, draws in figures], axis=0)


def _mean_of_prompts(values: Sequence[float]) -> Replicated:
    drawn = np.random.default_rng(0).integers(len(values), size=(_DRAWS, len(values)))
    return float(np.mean(values)), np.asarray(values)[drawn].mean(axis=1)


def _figure(replicated: Replicated) -> Figure:
    low, high = percentile(replicated[1])
    return Figure(value=_rounded(replicated[0]), low=_rounded(float(low)), high=_rounded(float(high)))


def _rounded(value: float) -> float:
    return round(value, 6) + 0.0  # no -0.0


def total(scores: Mapping[str, float]) -> float:
    """The mean over tasks of the base's scores."""
    return _rounded(float(np.mean(list(scores.values()))))
