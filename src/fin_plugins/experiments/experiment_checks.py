"""Checks of an experiment's own names (models, trainings, merges) and of the tasks that it scores."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fin_plugins.catalogue.task_search import TaskEntry, bundled_tasks, load_task_entry
from fin_plugins.common.errors import FinError
from fin_plugins.common.validation import Finding, did_you_mean
from fin_plugins.common.yaml_file import dotted
from fin_plugins.common.yaml_nodes import Key
from fin_plugins.experiments.experiment_config import Experiment, Model
from fin_plugins.training.config_checks import check_names as check_training_names
from fin_plugins.training.config_checks import our_tasks

_RESERVED_ARGUMENTS = {"pretrained", "revision", "peft", "adapter_name"}
"""Engine arguments that the experiment sets."""
_YAML = (".yaml", ".yml")
_GENERATIVE = "_gen"


def check_names(config: Experiment, data: Mapping[str, Any]) -> Iterator[Finding]:
    """Find names that do not exist or are given twice.

    Args:
        config: the valid part of the experiment.
        data: the entire file.
    """
    trainings, merges = _section_names(data, "training"), _section_names(data, "merges")
    for name in set(trainings) & set(merges):
        yield ("merges", name), "a training has this name too; names must be unique on the board"
    for name, merge in config.merges.items():
        yield from _unknown_names(("merges", name, "experts"), merge.experts, trainings, "training")
    for name, model in config.models.items():
        yield from _unknown_names(("models", name, "train"), model.train or [], trainings, "training")
        yield from _unknown_names(("models", name, "merge"), model.merge or [], merges, "merge")
        yield from _missing_experts(name, model, config)
        yield from _check_model(name, model)
    if config.board.reference is not None:
        for _, message in _unknown_names((), [config.board.reference], trainings, "training"):
            yield ("board", "reference"), message
    yield from _check_engine_arguments(("scoring", "model_args"), config.scoring.model_args)
    for key, items in _unique_lists(config):
        yield from (
            ((*key, index), f"{item}: given twice") for index, item in enumerate(items) if item in items[:index]
        )


def merges_of(model: Model, config: Experiment) -> list[str]:
    """Names of the merges made for a model."""
    return list(config.merges) if model.merge is None else [name for name in model.merge if name in config.merges]


def trainings_of(model: Model, config: Experiment) -> list[str]:
    """Names of the trainings run for a model."""
    return list(config.training) if model.train is None else [name for name in model.train if name in config.training]


def _section_names(data: Mapping[str, Any], section: str) -> list[str]:
    """Names of a section's entries, valid or not."""
    entries = data.get(section)
    return list(entries) if isinstance(entries, dict) else []


def _unknown_names(key: Key, names: Sequence[str], known: list[str], noun: str) -> Iterator[Finding]:
    for index, name in enumerate(names):
        if name not in known:
            choices = f"; there are {', '.join(known)}" if known else "; there is none"
            yield (*key, index), f"{name}: no such {noun}{did_you_mean(name, known) or choices}"


def _missing_experts(name: str, model: Model, config: Experiment) -> Iterator[Finding]:
    """Experts of a model's merges that are not trained for this model."""
    if model.train is None:
        return
    pairs = [(merge, expert) for merge in merges_of(model, config) for expert in config.merges[merge].experts]
    missing = [(merge, expert) for merge, expert in pairs if expert in config.training and expert not in model.train]
    if missing:
        merges, experts = (", ".join(dict.fromkeys(names)) for names in zip(*missing, strict=True))
        message = f"lacks {experts}, needed to merge {merges}: add it, or name this model's merges in `merge`"
        yield ("models", name, "train"), message


def _check_model(name: str, model: Model) -> Iterator[Finding]:
    for _, message in check_training_names({"model": model.model}):
        yield ("models", name, "model"), message
    if model.revision and model.train != []:
        message = "is for scoring only, as `fin train` and `fin merge` take none: name a folder, or set `train: []`"
        yield ("models", name, "revision"), message
    yield from _check_engine_arguments(("models", name, "model_args"), model.model_args)


def _check_engine_arguments(key: Key, arguments: Mapping[str, Any]) -> Iterator[Finding]:
    """Arguments that lm-eval's `--model_args a=b,c=d` cannot express, or that the experiment sets."""
    for name, value in arguments.items():
        if name in _RESERVED_ARGUMENTS:
            yield (*key, name), "leave it out: the experiment sets models, revisions and adapters"
        elif not isinstance(value, str | int | float) or "," in str(value):
            yield (*key, name), "should be a number, yes or no, or text without a comma"


def _unique_lists(config: Experiment) -> Iterator[tuple[Key, Sequence[Any]]]:
    """The lists in which no item may appear twice."""
    yield ("seeds",), config.seeds
    yield ("fewshot",), config.fewshot
    yield ("protocols",), config.protocols
    for name, model in config.models.items():
        for field in ("fewshot", "train", "merge"):
            yield ("models", name, field), getattr(model, field) or []
    for name, merge in config.merges.items():
        yield ("merges", name, "experts"), merge.experts


def find_tasks(name: str) -> list[TaskEntry]:
    """The bundled tasks, or the user's own task, that a name, group or path stands for; empty for lm-eval's tasks.

    Raises:
        FinError: a file is not a task, or cannot be read.
    """
    if name.endswith(_YAML):
        return [load_task_entry(Path(name))]
    tasks = bundled_tasks().tasks
    return [tasks[name]] if name in tasks else [task for task in tasks.values() if name in task.groups]


def readable_tasks(name: str) -> list[TaskEntry]:
    """As `find_tasks`; empty for a file that cannot be read."""
    try:
        return find_tasks(name)
    except FinError:
        return []


def task_names(name: str) -> list[str]:
    """Names of the tasks that a name, group or path stands for; empty for a file that cannot be read."""
    try:
        return [task.name for task in find_tasks(name)] or [name]
    except FinError:
        return []


def check_tasks(config: Experiment) -> Iterator[Finding]:
    """Find all problems of the tasks to score."""
    first_keys: dict[str, Key] = {}
    for side, names in (("seen", config.tasks.seen), ("unseen", config.tasks.unseen)):
        for index, name in enumerate(names):
            key: Key = ("tasks", side, index)
            messages = list(_check_task(name, with_generation="generation" in config.protocols))
            messages = messages or list(_check_side(name, side, first_keys))
            yield from ((key, message) for message in messages)
            first_keys |= {task: key for task in task_names(name) if task not in first_keys}


def _check_task(name: str, with_generation: bool) -> Iterator[str]:
    """Problems of a single task."""
    messages = [message for _, message in check_training_names({"tasks": [name]})]
    if messages:
        yield from messages
        return
    try:
        tasks = find_tasks(name)
    except FinError as error:
        yield str(error)
        return
    if name.endswith(_GENERATIVE) or any(task.protocol == "gen" for task in tasks):
        choice = f", {name.removesuffix(_GENERATIVE)}" if name.endswith(_GENERATIVE) else ""
        yield f"{name}: generates its answer: name the choice task{choice}; `protocols` selects how tasks are asked"
    elif with_generation:
        yield from _check_generative_variant(name, tasks)


def _check_generative_variant(name: str, tasks: list[TaskEntry]) -> Iterator[str]:
    path = Path(name)
    variant = path.with_stem(path.stem + _GENERATIVE)
    exists = variant.is_file() if name.endswith(_YAML) else name + _GENERATIVE in our_tasks()
    if not exists:
        missing = f"no {variant.name}" + (" beside it" if tasks else "")
        yield f"{name}: has {missing} for generated answers: add one, or leave `generation` out of `protocols`"


def _check_side(name: str, side: str, first_keys: dict[str, Key]) -> Iterator[str]:
    """Tasks given twice, or on the other side than their files say."""
    repeated = {task: first_keys[task] for task in task_names(name) if task in first_keys}
    for task, key in repeated.items():
        yield f"{task}: named before, at {dotted(key)}"
    seen = {task.name: task.fin.get("seen") for task in find_tasks(name)}
    if misplaced := [task for task, is_seen in seen.items() if is_seen is (side != "seen") and task not in repeated]:
        yield f"{', '.join(misplaced)}: marked as {'unseen' if side == 'seen' else 'seen'} in the task's own file"
