"""lm-eval's evaluation of one model, called as its command line calls it, and the tables printed afterwards."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fin_plugins.compat.lm_eval.logs import quiet_git
from fin_plugins.evaluation.cached_lm import CachedLM, ServedModel
from fin_plugins.tasks.lm_eval_cli import one_line_task_errors

MAIN_METRICS = ("weighted_f1", "acc_norm", "acc", "exact_match")
"""The comparison shows the first of these metrics that a task has, or else the task's first metric."""


class LoadedTasks:
    """The tasks of a command, loaded once for all models; lm-eval builds their requests again for each model.

    Passed to lm-eval in place of its task manager: `simple_evaluate` has no other way to take tasks with their groups.
    """

    def __init__(self, settings: Any) -> None:
        """Load the tasks.

        Raises:
            FinError: a task is unknown, or its rows cannot be read.
        """
        with one_line_task_errors():
            self._manager = settings.process_tasks(settings.metadata)
            self._loaded = self._manager.load(settings.tasks)
        self.by_name: dict[str, Any] = self._loaded["tasks"]
        self._metadata = {name: task.get_config("metadata") for name, task in self.by_name.items()}

    def load(self, _names: Any) -> Any:
        """Return the loaded tasks, overriding the manager's method."""
        return self._loaded

    def __getattr__(self, name: str) -> Any:
        return getattr(self._manager, name)

    def record_model_arguments(self, arguments: dict[str, Any]) -> None:
        """Add a model's arguments to the metadata of each task, where lm-eval records them."""
        for name, task in self.by_name.items():
            if isinstance(self._metadata[name], dict):
                task.set_config("metadata", {**self._metadata[name], **arguments})


def evaluate_model(
    settings: Any, model: ServedModel, lm: CachedLM, tasks: LoadedTasks
) -> tuple[dict[str, Any], Any, Any]:
    """Evaluate one model.

    Args:
        settings: lm-eval's `EvaluatorConfig`.
        model: its arguments are recorded.
        lm: answers the requests.
        tasks: the loaded tasks.

    Returns:
        lm-eval's results without samples, the samples by task (None if not logged), and the tracker that determines
        the names of the result files.
    """
    from lm_eval import simple_evaluate
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.utils import handle_non_serializable

    tasks.record_model_arguments(model.arguments)
    tracker = EvaluationTracker()
    seeds = settings.seed or (None,) * 4
    with quiet_git():
        results = simple_evaluate(
            model=lm,
            model_args=model.arguments,
            tasks=settings.tasks,
            num_fewshot=settings.num_fewshot,
            batch_size=settings.batch_size,
            max_batch_size=settings.max_batch_size,
            device=settings.device,
            limit=settings.limit,
            samples=settings.samples,
            check_integrity=settings.check_integrity,
            write_out=settings.write_out,
            log_samples=settings.log_samples,
            evaluation_tracker=tracker,
            system_instruction=settings.system_instruction,
            apply_chat_template=settings.apply_chat_template,
            fewshot_as_multiturn=settings.fewshot_as_multiturn,
            gen_kwargs=settings.gen_kwargs,
            task_manager=tasks,
            verbosity=settings.verbosity,
            predict_only=settings.predict_only,
            random_seed=seeds[0],
            numpy_random_seed=seeds[1],
            torch_random_seed=seeds[2],
            fewshot_random_seed=seeds[3],
            confirm_run_unsafe_code=settings.confirm_run_unsafe_code,
            metadata=settings.metadata,
        )
    # lm-eval files a model passed as an object under its class; here it is the requested one.
    results["config"]["model"] = tracker.general_config_tracker.model_source = settings.model
    samples = results.pop("samples", None)
    if settings.show_config:
        print(json.dumps(results, indent=2, default=handle_non_serializable, ensure_ascii=False))
    return results, samples if settings.log_samples else None, tracker


def print_results(settings: Any, model: ServedModel, results: dict[str, Any]) -> None:
    """Print what lm-eval's command line prints at the end."""
    from lm_eval.utils import make_table

    arguments = {name: value for name, value in model.arguments.items() if name != "trust_remote_code"}
    sizes = ",".join(map(str, results["config"]["batch_sizes"]))
    print(
        f"{settings.model} ({arguments}), gen_kwargs: ({settings.gen_kwargs}), limit: {settings.limit}, "
        f"num_fewshot: {settings.num_fewshot}, batch_size: {settings.batch_size}{f' ({sizes})' if sizes else ''}"
    )
    print(make_table(results))
    if "groups" in results:
        print(make_table(results, "groups"), flush=True)


def comparison_table(models: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown table, aligned for a terminal, with a row per task or group and a column per model.

    Metrics in `MAIN_METRICS` are in percent; standard errors follow the value.

    Args:
        models: lm-eval's results by model, with `results` (and `groups`) by task.
    """
    figures_by_task: dict[str, dict[str, Mapping[str, Any]]] = {}
    for model, results in models.items():
        for section in ("results", "groups"):
            for task, figures in (results.get(section) or {}).items():
                figures_by_task.setdefault(task, {})[model] = figures
    rows = [["task", "metric", *models]]
    rows += [row for task, by_model in figures_by_task.items() if (row := _task_row(task, by_model, list(models)))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in rows]
    return "\n".join([lines[0], f"|{'|'.join('-' * (width + 2) for width in widths)}|", *lines[1:]])


def _task_row(task: str, by_model: Mapping[str, Mapping[str, Any]], models: Sequence[str]) -> list[str]:
    """Cells of one task; empty if no model has a metric for it."""
    keys = [key for figures in by_model.values() for key in figures if _is_metric(key, figures[key])]
    if not keys:
        return []
    key = next((key for metric in MAIN_METRICS for key in keys if key.split(",")[0] == metric), keys[0])
    return [task, key.split(",")[0], *(_format_metric(by_model.get(model, {}), key) for model in models)]


def _is_metric(key: str, value: Any) -> bool:
    name = key.split(",")[0]
    return "," in key and not name.endswith("_stderr") and name != "sample_rows" and isinstance(value, int | float)


def _format_metric(figures: Mapping[str, Any], key: str) -> str:
    metric, _, filter_name = key.partition(",")
    scale, digits = (100, ".1f") if metric in MAIN_METRICS else (1, ".4g")
    values = (figures.get(key), figures.get(f"{metric}_stderr,{filter_name}"))
    return " ± ".join(format(value * scale, digits) for value in values if isinstance(value, int | float)) or "–"
