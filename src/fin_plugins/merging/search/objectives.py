"""Objectives of a candidate: seen score, change of an expert's tasks without the expert, divergence from the base."""

from collections.abc import Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from fin_plugins.merging.search.samplers import Weights
from fin_plugins.merging.search.search_engines import Coefficients, SearchEngine
from fin_plugins.merging.search.search_rows import SearchRows
from fin_plugins.merging.search.search_setup import LinearRecipe
from fin_plugins.merging.search.study import Candidate, Estimate
from fin_plugins.stats.intervals import percentile_interval
from fin_plugins.stats.joint_bootstrap import resample

_METRICS = ("acc", "weighted_f1", "macro_f1", "mcc")  # in the order of stats.joint_bootstrap
_REPLICATES = 10_000

Answers = Sequence[int]
Replicated = tuple[float, NDArray[np.float64]]
"""A value on the rows, and its values on resampled rows."""


class Objectives:
    """Scores candidates; scores each weighted sum of experts at most once per task."""

    def __init__(self, engine: SearchEngine, recipe: LinearRecipe, rows: SearchRows, metric: str) -> None:
        """Take the running engine, the recipe, the rows, and the name of the metric."""
        self._engine, self._recipe, self._rows = engine, recipe, rows
        self._metric = _METRICS.index(metric)
        self._answers: dict[tuple[tuple[float, ...], str], Answers] = {}
        self._base = dict.fromkeys([expert.name for expert in recipe.models.experts], 0.0)

    def score_base(self) -> dict[str, float]:
        """Score the base by task, and record its next-token distributions on the unlabelled prompts."""
        self._engine.use(self._base)
        self._engine.record_base(self._rows.prompts)
        answers = {task: [self._answer(self._base, task)] for task in self._rows.tasks}
        return {task: _round(self._replicate(task, of_task)[0][0]) for task, of_task in answers.items()}

    def score_candidate(self, number: int, weights: Weights) -> Candidate:
        """Score a candidate, after the base.

        Args:
            number: number of the candidate.
            weights: weight of each expert.
        """
        merge = self._recipe.coefficients(weights)
        scores: dict[str, Replicated] = {}
        left_out: dict[str, Replicated] = {}
        self._engine.use(merge)
        divergences = self._engine.divergences()
        # All tasks of one sum before the next, because changing the sum takes time.
        answers = {task: self._answer(merge, task) for task in self._rows.tasks}
        for expert, tasks in self._rows.expert_tasks.items():
            others = self._recipe.coefficients({name: weight for name, weight in weights.items() if name != expert})
            changes = []
            for task in tasks:
                of_models = [self._answer(self._base, task), answers[task], self._answer(others, task)]
                base, scores[task], without = self._replicate(task, of_models)
                changes.append((without[0] - base[0], without[1] - base[1]))
            left_out[expert] = _mean_of_tasks(changes)
        worst = min(left_out, key=lambda expert: left_out[expert][0])
        return Candidate(
            candidate=number,
            weights=weights,
            seen=_estimate(_mean_of_tasks(list(scores.values()))),
            tasks={task: _round(score) for task, (score, _) in scores.items()},
            leave_out=_estimate(left_out[worst]),
            worst=worst,
            left_out={expert: _round(change) for expert, (change, _) in left_out.items()},
            divergence=_estimate(_mean_of_prompts(divergences)),
        )

    def _answer(self, coefficients: Coefficients, task: str) -> Answers:
        # One task per request: other rows in a batch may change the rounding, and a resumed search must not differ.
        key = (tuple(coefficients.values()), task)
        if key not in self._answers:
            self._engine.use(coefficients)
            self._answers[key] = self._engine.answers(self._rows.tasks[task])
        return self._answers[key]

    def _replicate(self, task: str, answers: Sequence[Answers]) -> list[Replicated]:
        """The metric of each model on the rows, and on the same resamples of them."""
        rows = self._rows.tasks[task]
        joint = resample(rows.gold, answers, rows.label_count, draws=_REPLICATES, seed=crc32(task.encode("utf-8")))
        values = zip(joint.observed[:, self._metric], joint.replicates[:, self._metric], strict=True)
        return [(float(score), replicates.astype(np.float64)) for score, replicates in values]


def _mean_of_tasks(values: Sequence[Replicated]) -> Replicated:
    """The unweighted mean over tasks, whose rows are resampled independently."""
    replicates = np.mean([replicates for _, replicates in values], axis=0)
    return float(np.mean([value for value, _ in values])), replicates


def _mean_of_prompts(values: Sequence[float]) -> Replicated:
    resamples = np.random.default_rng(0).integers(len(values), size=(_REPLICATES, len(values)))
    return float(np.mean(values)), np.asarray(values)[resamples].mean(axis=1)


def _estimate(replicated: Replicated) -> Estimate:
    low, high = percentile_interval(replicated[1])
    return Estimate(value=_round(replicated[0]), low=_round(float(low)), high=_round(float(high)))


def _round(value: float) -> float:
    return round(value, 6) + 0.0  # never -0.0
