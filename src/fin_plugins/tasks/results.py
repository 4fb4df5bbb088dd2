"""From a model's answers to metrics: what task YAML files name in `process_results` and `aggregation`.

lm-eval fixes the metrics of `multiple_choice` and prints "N/A" as the standard error of any aggregation but its own.
So each document yields its label pair under the metric's name, and again under `<metric>_stderr`: that entry comes
after the metric and overwrites the "N/A" with the standard error (tried with lm-eval 0.4.12 and 0.4.13).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fin_plugins.stats.bootstrap import standard_errors
from fin_plugins.stats.metrics import Scores, confusion, scores
from fin_plugins.tasks.label_parser import AMBIGUOUS, MISSING, parse_label

Pair = tuple[int, int, int]
"""Gold label, predicted label (negative: outside the label set), number of labels in the set."""


def score_choice(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    """Metrics of one document of a likelihood task.

    Args:
        doc: A document from one of our loaders.
        results: One (summed log-likelihood in nats, is greedy) per label, in the order of `doc["choices"]`; the
            likeliest label is the answer, the first of equals.
    """
    likelihoods = [likelihood for likelihood, _ in results]
    return _metrics(doc, likelihoods.index(max(likelihoods)))


def score_reply(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """Metrics of one document of a generation task.

    Args:
        doc: A document from one of our loaders.
        results: A list with the reply as its only item. A missing or ambiguous answer is wrong in every metric.
    """
    aliases = tuple(tuple(spellings) for spellings in doc.get("aliases") or ())
    answer = parse_label(results[0], tuple(doc["choices"]), aliases)
    return {
        **_metrics(doc, answer),
        "missing": float(answer == MISSING),
        "ambiguous": float(answer == AMBIGUOUS),
    }


def weighted_f1(pairs: Sequence[Pair]) -> float:
    """F1 averaged over labels by their share of the gold labels, 0 to 1 (scikit-learn)."""
    return _scores(pairs).weighted_f1


def macro_f1(pairs: Sequence[Pair]) -> float:
    """Unweighted mean of F1 over the task's full label set, 0 to 1 (scikit-learn)."""
    return _scores(pairs).macro_f1


def mcc(pairs: Sequence[Pair]) -> float:
    """Matthews correlation coefficient, -1 to 1; answers outside the label set are a separate class."""
    return _scores(pairs).mcc


def weighted_f1_stderr(pairs: Sequence[Pair]) -> float:
    """Bootstrap standard error of `weighted_f1` over documents."""
    return _standard_errors(pairs).weighted_f1


def macro_f1_stderr(pairs: Sequence[Pair]) -> float:
    """Bootstrap standard error of `macro_f1` over documents."""
    return _standard_errors(pairs).macro_f1


def mcc_stderr(pairs: Sequence[Pair]) -> float:
    """Bootstrap standard error of `mcc` over documents."""
    return _standard_errors(pairs).mcc


def _metrics(doc: Mapping[str, Any], answer: int) -> dict[str, Any]:
    gold = int(doc["gold"])
    pair = (gold, answer, len(doc["choices"]))
    metrics: dict[str, Any] = {"acc": float(answer == gold)}
    for name in ("weighted_f1", "macro_f1", "mcc"):
        metrics[name] = pair
        metrics[f"{name}_stderr"] = pair
    if doc.get("data") == "sample":
        metrics["sample_rows"] = 1.0  # a row of lm-eval's table that marks the scores as not comparable
    return metrics


def _columns(pairs: Sequence[Pair]) -> tuple[list[int], list[int], int]:
    gold, answers, sizes = zip(*pairs, strict=True)
    return list(gold), list(answers), max(sizes)


def _scores(pairs: Sequence[Pair]) -> Scores:
    return scores(*_columns(pairs))


def _standard_errors(pairs: Sequence[Pair]) -> Scores:
    return standard_errors(confusion(*_columns(pairs)))
