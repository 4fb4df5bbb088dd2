"""The models of one run side by side: one row for each task, one column for each model."""

from collections.abc import Mapping, Sequence
from typing import Any

METRICS = ("weighted_f1", "acc_norm", "acc", "exact_match")
"""The metric that stands for a task: the first of these that it has, or else its first one."""


def comparison_table(models: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown table of all tasks and groups with standard errors; the metrics of `METRICS` are in percent.

    Args:
        models: lm-eval's results by model, each with `results` (and `groups`), by task.
    """
    rows: dict[str, dict[str, Mapping[str, Any]]] = {}
    for model, results in models.items():
        for section in ("results", "groups"):
            for task, figures in (results.get(section) or {}).items():
                rows.setdefault(task, {})[model] = figures
    header = ["task", "metric", *models]
    lines = [line for task, by_model in rows.items() if (line := _row(task, by_model, list(models)))]
    return _markdown([header, *lines])


def _row(task: str, by_model: Mapping[str, Mapping[str, Any]], models: Sequence[str]) -> list[str]:
    """One task's cells; empty where no model has a figure for it."""
    keys = [key for figures in by_model.values() for key in figures if _is_metric(key, figures[key])]
    if not keys:
        return []
    key = next((key for metric in METRICS for key in keys if key.split(",")[0] == metric), keys[0])
    return [task, key.split(",")[0], *(_cell(by_model.get(model, {}), key) for model in models)]


def _is_metric(key: str, value: Any) -> bool:
    name = key.split(",")[0]
    return "," in key and not name.endswith("_stderr") and name != "sample_rows" and isinstance(value, int | float)


def _cell(figures: Mapping[str, Any], key: str) -> str:
    metric, _, name = key.partition(",")
    scale, digits = (100, ".1f") if metric in METRICS else (1, ".4g")
    figure, error = figures.get(key), figures.get(f"{metric}_stderr,{name}")
    shown = [format(value * scale, digits) for value in (figure, error) if isinstance(value, int | float)]
    return " ± ".join(shown) or "–"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in rows]
    return "\n".join([lines[0], f"|{'|'.join('-' * (width + 2) for width in widths)}|", *lines[1:]])
