"""What an experiment may get wrong about its own names: of models, trainings and merges; and what it names twice."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fin_plugins.common.validation import Finding, did_you_mean
from fin_plugins.common.yaml_nodes import Key
from fin_plugins.experiments.config import Experiment, Model
from fin_plugins.training.files.checks import check_names

_OURS = {"pretrained", "revision", "peft", "adapter_name"}
"""Arguments of the engine that the experiment itself gives."""


def named(data: Mapping[str, Any], level: str) -> list[str]:
    """The names that a level of the file gives, whatever is wrong with what they stand for."""
    found = data.get(level)
    return list(found) if isinstance(found, dict) else []


def check_own_names(config: Experiment, data: Mapping[str, Any]) -> Iterator[Finding]:
    """Everything that is named in the experiment and not there, or given twice.

    Args:
        config: the experiment, as far as it can be read.
        data: the file's.
    """
    trainings, merges = named(data, "training"), named(data, "merges")
    for name in set(trainings) & set(merges):
        yield ("merges", name), "the name of a training, too: on the board each name is one model"
    for name, merge in config.merges.items():
        yield from _known(("merges", name, "experts"), merge.experts, trainings, "training")
    for name, model in config.models.items():
        yield from _known(("models", name, "train"), model.train or [], trainings, "training")
        yield from _known(("models", name, "merge"), model.merge or [], merges, "merge")
        yield from _experts(name, model, config)
        yield from _model(name, model)
    yield from _known(("board", "reference"), config.board.reference, trainings, "training")
    yield from _arguments(("scoring", "model_args"), config.scoring.model_args)
    for key, listed in _lists(config):
        yield from (
            ((*key, number), f"{item}: given twice") for number, item in enumerate(listed) if item in listed[:number]
        )


def merges_of(model: Model, config: Experiment) -> list[str]:
    """The merges that are made for a model."""
    return list(config.merges) if model.merge is None else [name for name in model.merge if name in config.merges]


def trainings_of(model: Model, config: Experiment) -> list[str]:
    """The trainings that are run for a model."""
    return list(config.training) if model.train is None else [name for name in model.train if name in config.training]


def _known(key: Key, given: Sequence[str] | str | None, known: list[str], what: str) -> Iterator[Finding]:
    listed = [(key, given)] if isinstance(given, str) else [((*key, n), name) for n, name in enumerate(given or ())]
    for place, name in listed:
        if name not in known:
            there = f"; there are {', '.join(known)}" if known else "; there is none"
            yield place, f"{name}: no such {what}{did_you_mean(name, known) or there}"


def _experts(name: str, model: Model, config: Experiment) -> Iterator[Finding]:
    """Whether everything that is merged for a model is trained for it."""
    if model.train is None:
        return
    wanted = [(merge, expert) for merge in merges_of(model, config) for expert in config.merges[merge].experts]
    lacking = [(merge, one) for merge, one in wanted if one in config.training and one not in model.train]
    if lacking:
        merges, experts = (", ".join(dict.fromkeys(names)) for names in zip(*lacking, strict=True))
        message = f"lacks {experts}, needed to merge {merges}: add it, or name this model's merges in `merge`"
        yield ("models", name, "train"), message


def _model(name: str, model: Model) -> Iterator[Finding]:
    for _, message in check_names({"model": model.model}):
        yield ("models", name, "model"), message
    if model.revision and model.train != []:
        message = "is for scoring only, as `fin train` and `fin merge` take none: name a folder, or set `train: []`"
        yield ("models", name, "revision"), message
    yield from _arguments(("models", name, "model_args"), model.model_args)


def _arguments(key: Key, given: Mapping[str, Any]) -> Iterator[Finding]:
    """What cannot be written as lm-eval's `--model_args a=b,c=d`, or is not for the user to say."""
    for name, value in given.items():
        if name in _OURS:
            yield (*key, name), "leave it out: models, their revisions and adapters are what the experiment is about"
        elif not isinstance(value, str | int | float) or "," in str(value):
            yield (*key, name), "should be a number, yes or no, or text without a comma"


def _lists(config: Experiment) -> Iterator[tuple[Key, Sequence[Any]]]:
    """The lists in which each item stands once."""
    yield ("seeds",), config.seeds
    yield ("fewshot",), config.fewshot
    yield ("protocols",), config.protocols
    for name, model in config.models.items():
        for part in ("fewshot", "train", "merge"):
            yield ("models", name, part), getattr(model, part) or []
    for name, merge in config.merges.items():
        yield ("merges", name, "experts"), merge.experts
