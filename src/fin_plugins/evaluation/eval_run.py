"""A run of `fin eval` on our model classes: the base and every adapter through lm-eval, on one engine."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fin_plugins.common.console import say
from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.adapter_checks import check_adapters, check_still_active
from fin_plugins.evaluation.adapter_probe import PeftReference, ProbeAnswers, peft_references, probe_tokens
from fin_plugins.evaluation.adapter_support import check_supported, tokenizer_warnings
from fin_plugins.evaluation.answer_cache import CACHE_FOLDER, AnswerCache
from fin_plugins.evaluation.base_model import check_base
from fin_plugins.evaluation.cache_key import AnswerSettings, base_folder, engine_device, key_inputs
from fin_plugins.evaluation.cached_lm import CachedLM, ServedModel
from fin_plugins.evaluation.eval_command import EvalCommand
from fin_plugins.evaluation.model_engine import LazyEngine, create_engine
from fin_plugins.evaluation.model_evaluation import LoadedTasks, comparison_table, evaluate_model, print_results
from fin_plugins.evaluation.prelaunch_checks import (
    check_prompts,
    check_prune,
    count_rows_trained_on,
    warn_of_missing_template,
)
from fin_plugins.evaluation.prompt_lm import EngineRequired, PromptLM
from fin_plugins.evaluation.result_files import ResultFolder, fingerprint, task_hashes, write_file_list
from fin_plugins.scoring.adapters import BASE, Adapter
from fin_plugins.scoring.finite_scores import check_metrics


def run_evaluation(command: EvalCommand, make_engine: Callable[[], Any] | None = None) -> list[Path]:
    """Evaluate all models of a command.

    Args:
        command: the parsed command line.
        make_engine: creates the object that answers; by default lm-eval's class with the command's arguments.

    Returns:
        The result and sample files.

    Raises:
        FinError: a problem that the user can fix; earlier answers are not lost.
    """
    run = EvalRun(command, make_engine or (lambda: create_engine(command)))
    try:
        return run.evaluate_models()
    except KeyboardInterrupt:
        if command.settings.output_path:
            say("stopped; all finished tasks are saved, and the same command resumes with the missing ones")
        raise
    finally:
        run.engine.stop()


class EvalRun:
    """State of one command: tasks, engine and cache, shared by all models."""

    def __init__(self, command: EvalCommand, make_engine: Callable[[], Any]) -> None:
        self.command = command
        self.settings = command.settings
        self.engine = LazyEngine(make_engine)
        self.results_folder = ResultFolder(self.settings.output_path) if self.settings.output_path else None
        if self.results_folder is None:
            say("no --output_path: nothing is saved, and a stopped run must start again")
        self.cache = AnswerCache(self.results_folder.root / CACHE_FOLDER if self.results_folder else None)
        self._checked_renderers: set[str] = set()
        self._results: dict[str, dict[str, Any]] = {}
        self._rows_trained_on: dict[str, dict[str, int] | None] = {}
        self._probe_answers: dict[str | None, ProbeAnswers] = {}
        self._finished_tasks = 0

    def evaluate_models(self) -> list[Path]:
        """Evaluate model after model; the engine starts at the first missing answer."""
        self._check_adapter_files()
        self._models = self._served_models()
        self.tasks = LoadedTasks(self.settings)
        if self.command.prune:
            check_prune(self.tasks.by_name, self.settings.model)
        names = ", ".join(model.name for model in self._models)
        say(f"{self.settings.model}, models: {names}; tasks: {', '.join(self.tasks.by_name)}")
        prompt_lm = self._load_prompt_lm()
        if prompt_lm:
            warn_of_missing_template(prompt_lm.tokenizer, self.settings.apply_chat_template)
            self._warn_of_other_tokenizers(prompt_lm)
        if self.command.verify and not all(self.cache.is_verified(model.content_hash) for model in self._models):
            self._start_engine(self._models, prompt_lm)
        files: list[Path] = []
        for index, model in enumerate(self._models):
            if self.engine.instance is None:
                try:
                    files += self._evaluate(model, prompt_lm)
                    continue
                except EngineRequired:
                    self._start_engine(self._models[index:], prompt_lm)
            files += self._evaluate(model, self.engine.instance)
        self._print_comparison()
        return files

    def _check_adapter_files(self) -> None:
        folder = base_folder(self.command.base_arguments)
        for adapter in self.command.adapters:
            check_supported(adapter, self.settings.model)
            check_base(adapter, str(self.command.base_arguments["pretrained"]), folder, self.command.any_base)

    def _served_models(self) -> list[ServedModel]:
        arguments = self.command.base_arguments
        batch = {name: str(getattr(self.settings, name)) for name in ("batch_size", "max_batch_size")}
        device = engine_device(self.settings.model, self.settings.device)
        base = [None] if self.command.base else []
        return [
            ServedModel(
                adapter.name if adapter else BASE,
                adapter,
                self.command.arguments_with(adapter),
                key_inputs(self.settings.model, arguments, adapter, batch, device),
            )
            for adapter in [*base, *self.command.adapters]
        ]

    def _load_prompt_lm(self) -> PromptLM | None:
        try:
            return PromptLM(self.settings.model, self.command.base_arguments)
        except Exception as error:  # a tokenizer that only the engine can load: it then renders the prompts
            say(f"the tokenizer cannot be loaded without the engine ({type(error).__name__}: {error})")
            return None

    def _warn_of_other_tokenizers(self, prompt_lm: PromptLM) -> None:
        chat = bool(self.settings.apply_chat_template)
        for adapter in self.command.adapters:
            for line in tokenizer_warnings(adapter, prompt_lm.tokenizer, prompt_lm.embedding_rows, chat):
                say(line)

    def _start_engine(self, models: list[ServedModel], prompt_lm: PromptLM | None) -> None:
        """Start the engine for these models, and check their adapters on it.

        PEFT's answers are computed before, so that two copies of the base never share a device.
        """
        self.cache.check_writable()
        adapters = [model.adapter for model in models if model.adapter]
        references = self._peft_references(adapters, prompt_lm) if self.command.verify else None
        engine = self.engine.start()
        if getattr(engine, "world_size", 1) > 1:
            raise FinError(
                "the engine runs in several ranks, but several adapters and resuming need one process: start it "
                "without accelerate launch or torchrun"
            )
        self._probe_answers = check_adapters(engine, adapters, references)
        for model in models if self.command.verify else ():
            self.cache.mark_verified(model.content_hash)

    def _peft_references(self, adapters: list[Adapter], prompt_lm: PromptLM | None) -> dict[str, PeftReference]:
        if prompt_lm is None:
            raise FinError("--verify-adapters: PEFT needs the tokenizer without the engine: leave it out")
        arguments = self.command.base_arguments
        trust = bool(arguments.get("trust_remote_code"))
        return peft_references(base_folder(arguments), adapters, probe_tokens(prompt_lm), trust)

    def _evaluate(self, model: ServedModel, renderer: Any) -> list[Path]:
        """Evaluate one model.

        Raises:
            EngineRequired: an answer is missing and the engine is not running.
        """
        if renderer is None:
            raise EngineRequired
        lm = CachedLM(
            model,
            self.cache,
            AnswerSettings(self.command.prune, tuple(self.settings.seed or ())),
            self.tasks.by_name,
            renderer,
            engine=self.engine.instance,
            finished=self._finished_tasks,
            total=len(self._models) * len(self.tasks.by_name),
            test_rows_trained_on=self._test_rows_trained_on(model),
            before_queries=lambda: self._check_prompts(renderer),
            after_attach=lambda: self._check_active(model.adapter),
        )
        results, samples, tracker = evaluate_model(self.settings, model, lm, self.tasks)
        check_metrics(model.name, results["results"])
        lm.print_messages()
        self._finished_tasks += len(self.tasks.by_name)
        files = self._save(model, results, samples, tracker)
        print_results(self.settings, model, results)
        self._results[model.name] = results
        return files

    def _check_prompts(self, renderer: Any) -> None:
        """Check the prompts of all tasks before the first query; lm-eval has built all requests by then."""
        name = type(renderer).__name__
        if name not in self._checked_renderers:
            self._checked_renderers.add(name)
            for task_name, task in self.tasks.by_name.items():
                check_prompts(task_name, task.instances, renderer)

    def _check_active(self, adapter: Adapter | None) -> None:
        answers = self._probe_answers.get(adapter.name if adapter else None)
        if answers is not None:
            check_still_active(self.engine.instance, adapter, answers)

    def _test_rows_trained_on(self, model: ServedModel) -> dict[str, int] | None:
        """Number of test rows that the model was trained on, by task; warns once."""
        if model.name not in self._rows_trained_on:
            folders = [base_folder(self.command.base_arguments), *([model.adapter.path] if model.adapter else [])]
            counts = count_rows_trained_on(self.tasks.by_name, folders)
            for task, (count, total) in (counts or {}).items():
                say(
                    f"WARNING: {model.name} · {task}: the model was trained on {count} of {total} test rows, so the "
                    "score says little about unseen rows (see config.fin.test_rows_trained_on in the result file)"
                )
            self._rows_trained_on[model.name] = (
                None if counts is None else {task: count for task, (count, _) in counts.items()}
            )
        return self._rows_trained_on[model.name]

    def _save(self, model: ServedModel, results: dict[str, Any], samples: Any, tracker: Any) -> list[Path]:
        if self.results_folder is None:
            return []
        tasks = task_hashes(results, samples, model.content_hash)
        mark = fingerprint(results, tasks)
        files = self.results_folder.find(mark, tasks)
        note = "written before" if files else "written"
        files = files or self.results_folder.save(mark, tasks, tracker, results, samples)
        say(f"{model.name}: {files[-1]} ({note}, with {len(files) - 1} sample files)")
        if model.name in self.command.written:
            write_file_list(self.command.written[model.name], model.name, files)
        return files

    def _print_comparison(self) -> None:
        """After several models, print their main metrics side by side, and the command that makes a board."""
        if len(self._results) > 1:
            print(f"All models, metrics in % ± standard error:\n{comparison_table(self._results)}\n", flush=True)
        if self.results_folder:
            folder = self.results_folder.root
            board = shlex.join(["fin", "board", str(folder), "--out", f"{folder}-board"])
            say(f"for intervals, paired tests and a web page: {board}")
