"""Metric lists that a task YAML names: `metric_list: !function fin_plugins.tasks.metrics.CHOICE`, or `REPLY`.

lm-eval treats the object as if it were in the YAML. It copies what it changes, so the lists can be shared.
"""

from typing import Any

from fin_plugins.tasks import results


def _metric(name: str, aggregation: Any = "mean", higher_is_better: bool = False) -> dict[str, Any]:
    return {"metric": name, "aggregation": aggregation, "higher_is_better": higher_is_better}


CHOICE: list[dict[str, Any]] = [
    _metric("acc", higher_is_better=True),
    _metric("weighted_f1", results.weighted_f1, higher_is_better=True),
    _metric("weighted_f1_stderr", results.weighted_f1_stderr),
    _metric("macro_f1", results.macro_f1, higher_is_better=True),
    _metric("macro_f1_stderr", results.macro_f1_stderr),
    _metric("mcc", results.mcc, higher_is_better=True),
    _metric("mcc_stderr", results.mcc_stderr),
    _metric("sample_rows"),  # reported with FIN_DATA=sample only
]
"""The metrics of `fin_plugins.tasks.results.score_choice`."""

REPLY: list[dict[str, Any]] = [*CHOICE, _metric("missing"), _metric("ambiguous")]
"""The metrics of `fin_plugins.tasks.results.score_reply`."""
