"""Which tasks may be scored with `--prune`: those where the likeliest label is all that counts."""

from collections.abc import Mapping
from typing import Any

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.engine import model_class
from fin_plugins.tasks.results import score_choice

_FREE_OF_LABELS = ("generate_until", "loglikelihood_rolling")


def check_prune(tasks: Mapping[str, Any], engine: str) -> None:
    """Check that the model class prunes, and that no metric of the tasks needs the score of a label that did not win.

    Pruning gives the same likeliest label, but for the others a bound in place of their score, and no word on whether
    they are greedy. Length-normalised accuracy needs the scores, and lm-eval computes `exact_match` for every plain
    multiple-choice task, which needs the word (0.4.13 fails without it). So only tasks that decide with our
    `score_choice` pass, and those without labels, which pruning does not touch.

    Args:
        tasks: lm-eval's task objects by name.
        engine: lm-eval's name of the model class.

    Raises:
        FinError: the class does not prune, or a task's metrics need more than the decision.
    """
    if not getattr(model_class(engine), "supports_prune", False):
        raise FinError(f"--prune: {engine} scores all labels anyway: leave it out, or use --model fin_vllm")
    for name, task in tasks.items():
        if task.OUTPUT_TYPE in _FREE_OF_LABELS or _decides(task):
            continue
        metrics = ", ".join(str(entry.get("metric")) for entry in task.get_config("metric_list") or ()) or "its metrics"
        raise FinError(
            f"--prune: task {name} reports {metrics}, which lm-eval computes from the scores of all labels, and "
            "pruning gives the likeliest one's only: leave --prune out, or the task"
        )


def _decides(task: Any) -> bool:
    given = task.get_config("process_results")
    return (getattr(given, "__module__", ""), getattr(given, "__qualname__", "")) == (
        score_choice.__module__,
        score_choice.__qualname__,
    )
