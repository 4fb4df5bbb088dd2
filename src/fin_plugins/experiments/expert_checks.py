"""Checks of an experiment's trainings and merges: their files, the keys that it changes, and their tasks."""

import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fin_plugins.catalogue.task_search import bundled_tasks
from fin_plugins.common.errors import FinError
from fin_plugins.common.validation import Finding, validate
from fin_plugins.common.yaml_file import Problem, Problems
from fin_plugins.common.yaml_nodes import Key
from fin_plugins.experiments.experiment_checks import readable_tasks, task_names, trainings_of
from fin_plugins.experiments.experiment_config import Experiment, Merge, Model, Training
from fin_plugins.merging.recipes.recipe_model import UNKNOWN_LAYERS, Expert, MergeModels
from fin_plugins.merging.recipes.recipe_resolution import read_recipe, read_settings, resolve_recipe
from fin_plugins.merging.search.search_config import SearchConfig, check_references
from fin_plugins.training.config_loading import Override, read_config
from fin_plugins.training.train_config import TrainConfig

_SET_BY_EXPERIMENT = {"model": "`models`", "seed": "`seeds`", "output": "the experiment's own `output`"}
"""Keys of training files that the experiment sets, and where."""
_NOT_SERVABLE = {"full": "trains all weights", "dora": "makes an adapter that no engine can serve beside others"}
_DEMO = Override("models", ("model",), "demo")
"""Replaces the training file's own model; the experiment's models are checked separately."""
_SEARCH_KEYS_SET = ("base", "experts", "recipe", "model", "model_args", "chat_template", "output")
"""Keys of search files that the experiment sets."""


@dataclass
class TrainingChecks:
    """Result of checking all trainings.

    Attributes:
        findings: all problems.
        tasks: task names of each readable training.
    """

    findings: list[Finding] = field(default_factory=list)
    tasks: dict[str, list[str]] = field(default_factory=dict)


def as_settings(values: Mapping[str, Any]) -> list[str]:
    """`KEY=VALUE` for each key, as typed after `--set`; values are JSON, which is YAML."""
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]


def training_settings(training: Training, model: Model) -> list[str]:
    """The changes of a training file for one model; the model's come last and win."""
    return as_settings({**training.set, **model.settings})


def read_training(training: Training, model: Model) -> TrainConfig:
    """A training file with the experiment's changes for one model.

    Raises:
        FinError: the file does not exist or cannot be read.
        Problems: all problems of the file.
    """
    return read_config(training.file, training_settings(training, model), [_DEMO]).config


def check_trainings(config: Experiment) -> TrainingChecks:
    """Read the training file of every training for every model that it is run for."""
    checks = TrainingChecks(list(_keys_set_by_experiment(config)))
    seen, unseen = (
        {task for name in names for task in task_names(name)} for names in (config.tasks.seen, config.tasks.unseen)
    )
    for name, training in config.training.items():
        for model_name, model in _models_to_train(name, config):
            findings = list(_check_training(name, training, model_name, model, unseen - seen))
            if not findings:
                shares = read_training(training, model).tasks
                checks.tasks.setdefault(name, [task for share in shares for task in task_names(share.task)])
            checks.findings += findings
    return checks


def check_merges(config: Experiment, tasks: Mapping[str, list[str]]) -> Iterator[Finding]:
    """Find all problems of merges that can be known before there are experts.

    Args:
        config: the experiment.
        tasks: task names of each readable training.
    """
    if config.merges and importlib.util.find_spec("mergekit") is None:
        yield ("merges",), 'mergekit is not installed: `pip install "fin-plugins[merge]"`'
        return
    for name, merge in config.merges.items():
        if not all(expert in config.training for expert in merge.experts):
            continue
        if merge.search is None:
            yield from _check_recipe(name, merge)
        else:
            yield from _check_search(name, merge, merge.search, tasks)


def _models_to_train(training: str, config: Experiment) -> list[tuple[str, Model]]:
    """The models that a training is run for; one that is run for none is checked with the demo model."""
    models = [(name, model) for name, model in config.models.items() if training in trainings_of(model, config)]
    return models or [("", Model(model="demo"))]


def _keys_set_by_experiment(config: Experiment) -> Iterator[Finding]:
    sections: list[tuple[Key, dict[str, Any]]] = [
        *((("training", name, "set"), training.set) for name, training in config.training.items()),
        *((("models", name, "settings"), model.settings) for name, model in config.models.items()),
    ]
    for section, values in sections:
        for key in values:
            if key in _SET_BY_EXPERIMENT:
                yield (*section, key), f"leave it out: {_SET_BY_EXPERIMENT[key]} sets it"


def _check_training(
    name: str, training: Training, model_name: str, model: Model, unseen: set[str]
) -> Iterator[Finding]:
    file_key: Key = ("training", name, "file")
    try:
        config = read_training(training, model)
    except Problems as error:
        change_keys = _change_keys(training.set, ("training", name, "set"))
        change_keys |= _change_keys(model.settings, ("models", model_name, "settings"))
        yield from _findings_of_file(error.problems, change_keys, file_key)
    except FinError as error:
        yield file_key, str(error)
    else:
        yield from _check_training_content(name, training, config, unseen)


def _check_training_content(name: str, training: Training, config: TrainConfig, unseen: set[str]) -> Iterator[Finding]:
    set_key, file_key = ("training", name, "set"), ("training", name, "file")
    tasks_key = (*set_key, "tasks") if "tasks" in training.set else file_key
    trained = {task for share in config.tasks for task in task_names(share.task)}
    if scored_as_unseen := trained & unseen:
        yield tasks_key, f"trains on {', '.join(sorted(scored_as_unseen))}, which this experiment scores as unseen"
    marked = {
        task.name for share in config.tasks for task in readable_tasks(share.task) if task.fin.get("seen") is False
    }
    if not config.allow_unseen and (refused := marked - unseen):
        yield tasks_key, f"trains on {', '.join(sorted(refused))}, marked as unseen: `fin train` refuses that"
    if config.method in _NOT_SERVABLE:
        method_key = (*set_key, "method") if "method" in training.set else file_key
        yield method_key, f"method: {config.method} {_NOT_SERVABLE[config.method]}: use lora, rslora or qlora"


def _change_keys(values: Mapping[str, Any], section: Key, flag: str = "--set") -> dict[str, Key]:
    """The experiment's key of each change, by what error messages call the change."""
    return {f"{flag} {text}": (*section, key) for text, key in zip(as_settings(values), values, strict=True)}


def _findings_of_file(problems: Iterable[Problem], change_keys: Mapping[str, Key], file_key: Key) -> Iterator[Finding]:
    """Problems of another file as findings of the experiment: at the change that caused one, else at the file's name.

    Args:
        problems: as the file's reader raised them.
        change_keys: keys of the changes.
        file_key: where the experiment names the file.
    """
    for problem in problems:
        if problem.file in change_keys:
            message = f"{problem.key}: {problem.message}" if problem.key else problem.message
            yield change_keys[problem.file], message
        else:
            yield file_key, str(problem)


def _placeholder_models(merge: Merge) -> MergeModels:
    """Stand-ins for models that do not exist yet."""
    experts = tuple(Expert(name, Path(name), is_adapter=True) for name in merge.experts)
    return MergeModels(Path("base"), "base", UNKNOWN_LAYERS, "bfloat16", experts)


def _check_recipe(name: str, merge: Merge) -> Iterator[Finding]:
    recipe, recipe_key = str(merge.recipe), ("merges", name, "recipe")
    change_keys = _change_keys(merge.set, ("merges", name, "set"))
    change_keys |= _change_keys(merge.weights, ("merges", name, "weights"), "--weight")
    settings, problems = read_settings(as_settings(merge.set), as_settings(merge.weights), merge.experts)
    try:
        resolve_recipe(read_recipe(recipe), _placeholder_models(merge), settings, dtype=merge.dtype)
    except Problems as error:
        problems += [_named_after_recipe(problem, recipe) for problem in error.problems]
    except FinError as error:
        yield recipe_key, str(error)
    yield from _findings_of_file(problems, change_keys, recipe_key)


def _named_after_recipe(problem: Problem, recipe: str) -> Problem:
    """The problem; without its line if it is about the entire recipe: the usual cause is the number of experts."""
    return problem if problem.key or not problem.line else Problem(recipe, 0, 0, "", problem.message)


def _check_search(
    name: str, merge: Merge, search: Mapping[str, Any], tasks: Mapping[str, list[str]]
) -> Iterator[Finding]:
    merge_key: Key = ("merges", name)
    for key in _SEARCH_KEYS_SET:
        if key in search:
            yield (*merge_key, "search", key), "leave it out: the experiment sets it"
    experts = {expert: {"path": ".", "tasks": tasks.get(expert, [expert])} for expert in merge.experts}
    data = {key: value for key, value in search.items() if key not in _SEARCH_KEYS_SET}
    data |= {"base": "demo", "experts": experts} | ({"recipe": merge.recipe} if merge.recipe else {})
    config, findings = validate(SearchConfig, data, data)
    for finding_key, message in [*findings, *check_references(data)]:
        yield (*merge_key, "experts") if finding_key[0] == "experts" else (*merge_key, "search", *finding_key), message
    yield from _unseen_experts(merge_key, merge, tasks)
    try:
        if config is not None:
            from fin_plugins.merging.search.search_setup import read_linear_recipe

            read_linear_recipe(config, _placeholder_models(merge))
    except FinError as error:
        yield (*merge_key, "recipe"), str(error).removeprefix("recipe: ")


def _unseen_experts(merge_key: Key, merge: Merge, tasks: Mapping[str, list[str]]) -> Iterator[Finding]:
    bundled = bundled_tasks().tasks
    for index, expert in enumerate(merge.experts):
        unseen = [task for task in tasks.get(expert, []) if task in bundled and bundled[task].fin.get("seen") is False]
        if unseen:
            yield (*merge_key, "experts", index), f"{', '.join(unseen)}: marked as unseen: a search may not use it"
