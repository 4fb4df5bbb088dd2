"""lm-eval's own evaluation of one model, called as lm-eval's command line calls it."""

import json
from typing import Any

from fin_plugins.compat.lm_eval.logs import quiet_git
from fin_plugins.evaluation.stored import StoredLM
from fin_plugins.evaluation.units import Model
from fin_plugins.tasks.harness import task_errors_in_one_line


class Tasks:
    """The tasks of the command, loaded once for all models; lm-eval makes their requests anew for each model."""

    def __init__(self, settings: Any) -> None:
        """Load them.

        Raises:
            FinError: a task is unknown, or its rows cannot be read.
        """
        with task_errors_in_one_line():
            self._manager = settings.process_tasks(settings.metadata)
            self._loaded = self._manager.load(settings.tasks)
        self.by_name: dict[str, Any] = self._loaded["tasks"]
        self._metadata = {name: task.get_config("metadata") for name, task in self.by_name.items()}

    def load(self, _names: Any) -> Any:
        """In place of the manager's: what is loaded already."""
        return self._loaded

    def __getattr__(self, name: str) -> Any:
        return getattr(self._manager, name)

    def record(self, arguments: dict[str, Any]) -> None:
        """Put a model's arguments into each task's metadata, where lm-eval records them."""
        for name, task in self.by_name.items():
            if isinstance(self._metadata[name], dict):
                task.set_config("metadata", {**self._metadata[name], **arguments})


def evaluate(settings: Any, model: Model, lm: StoredLM, tasks: Tasks) -> tuple[dict[str, Any], Any, Any]:
    """Evaluate one model.

    Args:
        settings: lm-eval's `EvaluatorConfig`.
        model: whose arguments are recorded.
        lm: what answers.
        tasks: the loaded tasks.

    Returns:
        lm-eval's results without the samples, the samples by task (None where they are not wanted), and the tracker
        that knows how lm-eval files them.
    """
    from lm_eval import simple_evaluate
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.utils import handle_non_serializable

    tasks.record(model.arguments)
    lm.expect(tasks.by_name)
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
    # A model that lm-eval is handed as an object is filed under its class: here it is the one that was asked for.
    results["config"]["model"] = tracker.general_config_tracker.model_source = settings.model
    samples = results.pop("samples", None)
    if settings.show_config:
        print(json.dumps(results, indent=2, default=handle_non_serializable, ensure_ascii=False))
    return results, samples if settings.log_samples else None, tracker


def show(settings: Any, model: Model, results: dict[str, Any]) -> None:
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
