"""`--prune` passes where the decision is all that counts, and nowhere else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.common.locations import task_folder
from fin_plugins.evaluation.pruning import check_prune

PLAIN = """\
task: plain
custom_dataset: !function rows.load
output_type: {kind}
test_split: test
doc_to_text: "{{{{text}}}}"
doc_to_target: gold
{more}
metric_list: [{metrics}]
"""
ROWS = """\
import datasets

def load(**_):
    row = {"text": "Up?", "choices": ["yes", "no"], "gold": 0}
    return datasets.DatasetDict({"test": datasets.Dataset.from_list([row])})

def own(doc, results):
    return {"acc": 1.0}
"""


@pytest.fixture
def tasks(tmp_path: Path, sample_data: None) -> Callable[..., dict[str, Any]]:
    """Loads tasks by name; `plain` is made from the arguments."""

    def load(name: str, kind: str = "multiple_choice", metrics: str = "{metric: acc}", more: str = "") -> dict:
        from lm_eval.tasks import TaskManager

        (tmp_path / "rows.py").write_text(ROWS)
        more += "\ndoc_to_choice: choices" if kind == "multiple_choice" else ""
        (tmp_path / "plain.yaml").write_text(PLAIN.format(kind=kind, metrics=metrics, more=more))
        folders = [str(task_folder()), str(tmp_path)]
        return TaskManager(include_defaults=False, include_path=folders).load([name])["tasks"]

    return load


def test_our_tasks_pass(tasks: Callable[..., dict[str, Any]]) -> None:
    loaded = tasks("fin") | tasks("fin_gen")
    assert len(loaded) == 16
    check_prune(loaded, "fin_vllm")


@pytest.mark.parametrize(
    ("kind", "metrics", "more"),
    [
        ("multiple_choice", "{metric: acc}, {metric: acc_norm}", ""),
        ("multiple_choice", "{metric: acc}", ""),  # lm-eval fails on it: see below
        ("multiple_choice", "{metric: brier_score}", ""),
        ("loglikelihood", "{metric: perplexity}", ""),
        ("multiple_choice", "{metric: acc}", "process_results: !function rows.own"),
    ],
)
def test_metrics_that_may_need_all_scores_are_refused(
    kind: str, metrics: str, more: str, tasks: Callable[..., dict[str, Any]]
) -> None:
    metric = metrics.split("metric: ")[-1].strip("}")
    with pytest.raises(FinError, match=rf"--prune: task plain reports .*{metric}.*leave --prune out"):
        check_prune(tasks("plain", kind, metrics, more), "fin_vllm")


def test_tasks_without_labels_pass(tasks: Callable[..., dict[str, Any]]) -> None:
    check_prune(tasks("plain", "generate_until", "{metric: exact_match}"), "fin_vllm")
    check_prune(tasks("plain", "loglikelihood_rolling", "{metric: word_perplexity}"), "fin_vllm")


def test_a_class_that_does_not_prune_is_refused() -> None:
    with pytest.raises(FinError, match="--prune: fin_hf scores all labels anyway"):
        check_prune({}, "fin_hf")


def test_why_plain_accuracy_is_refused(tasks: Callable[..., dict[str, Any]]) -> None:
    """lm-eval asks of every plain task whether the gold label is greedy; a pruned label has no answer to that."""
    (task,) = tasks("plain").values()
    row = {"text": "Up?", "choices": ["yes", "no"], "gold": 0}
    with pytest.raises(TypeError):
        task.process_results(row, [(-5.0, None), (-1.0, True)])
    (ours,) = tasks("fin_fomc").values()
    row = {"choices": ["a", "b"], "gold": 0}
    assert ours.process_results(row, [(-5.0, None), (-1.0, True)])["acc"] == 0.0
