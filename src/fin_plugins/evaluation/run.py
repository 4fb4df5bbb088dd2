"""`fin eval` on our model classes: the base and every adapter through lm-eval, on one engine, started at most once."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fin_plugins.common.console import say
from fin_plugins.common.errors import FinError
from fin_plugins.common.hashing import digest
from fin_plugins.evaluation import identity
from fin_plugins.evaluation.adapter_checks import check_adapters, check_attachment
from fin_plugins.evaluation.adapter_tokenizer import tokenizer_warnings
from fin_plugins.evaluation.base_match import check_base
from fin_plugins.evaluation.command import Command
from fin_plugins.evaluation.comparison import comparison_table
from fin_plugins.evaluation.engine import Engine, default_engine
from fin_plugins.evaluation.evaluate import Tasks, evaluate, show
from fin_plugins.evaluation.newest import task_hashes
from fin_plugins.evaluation.outputs import Outputs, fingerprint, write_list
from fin_plugins.evaluation.preflight import check_prompts, say_missing_template
from fin_plugins.evaluation.probe import Answers, probe_tokens
from fin_plugins.evaluation.prompts import NoEngine, PromptLM
from fin_plugins.evaluation.pruning import check_prune
from fin_plugins.evaluation.reference import Reference, references
from fin_plugins.evaluation.servable import check_servable
from fin_plugins.evaluation.store import FOLDER, Store
from fin_plugins.evaluation.stored import StoredLM
from fin_plugins.evaluation.trained import count_trained_on
from fin_plugins.evaluation.units import Model, Progress, Settings
from fin_plugins.scoring.adapters import BASE, Adapter
from fin_plugins.scoring.finite import check_metrics


def run(command: Command, make_engine: Callable[[], Any] | None = None) -> list[Path]:
    """Evaluate all models of the command and return the files that hold the results.

    Args:
        command: what was asked for.
        make_engine: makes the object that answers; by default lm-eval's class of that name with the given arguments.

    Raises:
        FinError: something the user can mend; nothing that was scored before is lost.
    """
    evaluation = Evaluation(command, make_engine or (lambda: default_engine(command)))
    try:
        return evaluation.run()
    except KeyboardInterrupt:
        if command.settings.output_path:
            say("stopped; all finished tasks are kept, and the same command goes on with what is missing")
        raise
    finally:
        evaluation.engine.stop()


class Evaluation:
    """One command on its way: tasks loaded once, one engine, one store."""

    def __init__(self, command: Command, make_engine: Callable[[], Any]) -> None:
        self.command = command
        self.engine = Engine(make_engine)
        output_path = command.settings.output_path
        self.outputs = Outputs(output_path) if output_path else None
        if self.outputs is None:
            say("no --output_path: nothing is kept, and a run that is stopped has to start anew")
        self.store = Store(self.outputs.root / FOLDER if self.outputs else None)
        self._prompts_checked: set[str] = set()
        self._results: dict[str, dict[str, Any]] = {}
        self._trained: dict[str, dict[str, int] | None] = {}
        self._checked: dict[str | None, Answers] = {}

    def run(self) -> list[Path]:
        """Evaluate model after model."""
        self._check_adapters()
        models = self._models()
        self.tasks = Tasks(self.command.settings)
        if self.command.prune:
            check_prune(self.tasks.by_name, self.command.settings.model)
        self.progress = Progress(len(models) * len(self.tasks.by_name))
        names = ", ".join(model.name for model in models)
        say(f"{self.command.settings.model}, models: {names}; tasks: {', '.join(self.tasks.by_name)}")
        prompts = self._prompts()
        if prompts:
            say_missing_template(prompts.tokenizer, self.command.settings.apply_chat_template)
        self._check_tokenizers(prompts)
        if self.command.verify and not all(self.store.verified(digest(model.made_with)) for model in models):
            self._start_engine(models, prompts)
        files: list[Path] = []
        for index, model in enumerate(models):
            if self.engine.object is None:
                try:
                    files += self._evaluate(model, prompts)
                    continue
                except NoEngine:
                    self._start_engine(models[index:], prompts)
            files += self._evaluate(model, self.engine.object)
        self._show_comparison()
        return files

    def _show_comparison(self) -> None:
        """After several models: their main figures side by side, and how to make a board of them."""
        if len(self._results) > 1:
            print(f"All models, shares in % ± standard error:\n{comparison_table(self._results)}\n", flush=True)
        if self.outputs:
            board = shlex.join(["fin", "board", str(self.outputs.root), "--out", f"{self.outputs.root}-board"])
            say(f"intervals, paired tests and a page: {board}")

    def _models(self) -> list[Model]:
        settings = self.command.settings
        base = self.command.base_arguments
        batch = {name: str(getattr(settings, name)) for name in ("batch_size", "max_batch_size")}
        device = identity.device_of(settings.model, settings.device)
        alone = [None] if self.command.base else []
        return [
            Model(
                adapter.name if adapter else BASE,
                adapter,
                self.command.arguments_with(adapter),
                identity.ingredients(settings.model, base, adapter, batch, device),
            )
            for adapter in [*alone, *self.command.adapters]
        ]

    def _prompts(self) -> PromptLM | None:
        try:
            return PromptLM(self.command.settings.model, self.command.base_arguments)
        except Exception as error:  # a tokenizer only the engine can load: stored answers are then found through it
            say(f"the tokenizer cannot be loaded without the engine ({type(error).__name__}: {error})")
            return None

    def _check_adapters(self) -> None:
        folder = identity.base_folder(self.command.base_arguments)
        for adapter in self.command.adapters:
            check_servable(adapter, self.command.settings.model)
            check_base(adapter, str(self.command.base_arguments["pretrained"]), folder, self.command.any_base)

    def _check_tokenizers(self, prompts: PromptLM | None) -> None:
        """Say where an adapter's folder has another chat template or tokenizer than the prompts are made with."""
        if prompts is None:
            return
        chat = bool(self.command.settings.apply_chat_template)
        for adapter in self.command.adapters:
            for line in tokenizer_warnings(adapter, prompts.tokenizer, prompts.embedding_rows, chat):
                say(line)

    def _check_prompts(self, renderer: Any) -> None:
        """Before anything is asked, and of all tasks: lm-eval has made all requests by then."""
        who = type(renderer).__name__
        if who not in self._prompts_checked:
            self._prompts_checked.add(who)
            for name, task in self.tasks.by_name.items():
                check_prompts(name, task.instances, renderer)

    def _start_engine(self, models: list[Model], prompts: PromptLM | None) -> None:
        """Start it for these models, and check their adapters on it.

        PEFT's answers are had before, so that two copies of the base never share a device.
        """
        self.store.check_writable()
        adapters = [model.adapter for model in models if model.adapter]
        expected = self._references(adapters, prompts) if self.command.verify else None
        engine = self.engine.start()
        if getattr(engine, "world_size", 1) > 1:
            raise FinError("the engine runs in several ranks: many adapters and resuming need one process")
        self._checked = check_adapters(engine, adapters, expected)
        for model in models if self.command.verify else ():
            self.store.mark_verified(digest(model.made_with))

    def _check_attachment(self, adapter: Adapter | None) -> None:
        checked = self._checked.get(adapter.name if adapter else None)
        if checked is not None:
            check_attachment(self.engine.object, adapter, checked)

    def _references(self, adapters: list[Adapter], prompts: PromptLM | None) -> dict[str, Reference]:
        if prompts is None:
            raise FinError("--verify-adapters: PEFT needs the tokenizer without the engine: leave it out")
        base = self.command.base_arguments
        trust = bool(base.get("trust_remote_code"))
        return references(identity.base_folder(base), adapters, probe_tokens(prompts), trust)

    def _evaluate(self, model: Model, renderer: Any) -> list[Path]:
        """One model through lm-eval.

        Raises:
            NoEngine: an answer is missing and there is no engine yet.
        """
        if renderer is None:
            raise NoEngine
        settings = self.command.settings
        lm = StoredLM(
            model,
            self.store,
            Settings(self.command.prune, tuple(settings.seed or ())),
            replace(self.progress),
            renderer,
            self.engine.object,
            lambda: self._check_prompts(renderer),
            lambda: self._check_attachment(model.adapter),
        )
        lm.trained_on = self._trained_on(model)
        results, samples, tracker = evaluate(settings, model, lm, self.tasks)
        check_metrics(model.name, results["results"])
        lm.tell()
        self.progress.done += len(self.tasks.by_name)
        files = self._save(model, results, samples, tracker)
        show(settings, model, results)
        self._results[model.name] = results
        return files

    def _trained_on(self, model: Model) -> dict[str, int] | None:
        """How many test rows the model was trained on, by task; said once."""
        if model.name not in self._trained:
            folders = [
                identity.base_folder(self.command.base_arguments),
                *([model.adapter.path] if model.adapter else []),
            ]
            found = count_trained_on(self.tasks.by_name, folders)
            for task, (count, total) in (found or {}).items():
                say(
                    f"WARNING: {model.name} · {task}: {count} of {total} test rows were trained on: the score says "
                    "little about unseen rows (counted in the result file, config.fin.test_rows_trained_on)"
                )
            self._trained[model.name] = None if found is None else {task: count for task, (count, _) in found.items()}
        return self._trained[model.name]

    def _save(self, model: Model, results: dict[str, Any], samples: Any, tracker: Any) -> list[Path]:
        if self.outputs is None:
            return []
        tasks = task_hashes(results, samples, digest(model.made_with))
        mark = fingerprint(results, tasks)
        files = self.outputs.written(mark, tasks)
        note = "written before" if files else "written"
        files = files or self.outputs.save(mark, tasks, tracker, results, samples)
        say(f"{model.name}: {files[-1]} ({note}, with {len(files) - 1} sample files)")
        if model.name in self.command.written:
            write_list(self.command.written[model.name], model.name, files)
        return files
