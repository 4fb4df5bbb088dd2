"""What an experiment may get wrong about its merges: recipes and their parameters, searches."""

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fin_plugins.catalogue.find import shipped
from fin_plugins.common.errors import FinError
from fin_plugins.common.validation import Finding, validate
from fin_plugins.common.yaml_file import Problem, Problems
from fin_plugins.common.yaml_nodes import Key
from fin_plugins.experiments.config import Experiment, Merge
from fin_plugins.experiments.files import settings
from fin_plugins.merging.model import Expert
from fin_plugins.merging.recipes.expand import ANY_LAYERS, Models
from fin_plugins.merging.recipes.fill import fill, read_recipe
from fin_plugins.merging.recipes.settings import read_settings
from fin_plugins.merging.search.config import SearchConfig
from fin_plugins.merging.search.read import missing

_GIVEN = ("base", "experts", "recipe", "model", "model_args", "chat_template", "output")
"""Keys of search files that the experiment gives."""


def check_merges(config: Experiment, tasks: Mapping[str, list[str]]) -> Iterator[Finding]:
    """Everything that is wrong with merges, as far as it can be known before there are experts.

    Args:
        config: the experiment.
        tasks: the tasks of each training that can be read.
    """
    if config.merges and importlib.util.find_spec("mergekit") is None:
        yield ("merges",), 'mergekit is not installed: `pip install "fin-plugins[merge]"`'
        return
    for name, merge in config.merges.items():
        if all(expert in config.training for expert in merge.experts):
            yield from _recipe(name, merge) if merge.search is None else _search(name, merge, merge.search, tasks)


def _models(merge: Merge) -> Models:
    """What stands in for models that are not there yet."""
    experts = tuple(Expert(name, Path(name), is_adapter=True) for name in merge.experts)
    return Models(Path("base"), "base", ANY_LAYERS, "bfloat16", experts)


def _recipe(name: str, merge: Merge) -> Iterator[Finding]:
    known = settings.places(merge.set, ("merges", name, "set"))
    known |= settings.places(merge.weights, ("merges", name, "weights"), "--weight")
    texts = settings.as_settings(merge.set), settings.as_settings(merge.weights)
    given, wrong = read_settings(*texts, merge.experts)
    try:
        fill(read_recipe(str(merge.recipe)), _models(merge), given, dtype=merge.dtype)
    except Problems as error:
        wrong += [_named(problem, str(merge.recipe)) for problem in error.problems]
    except FinError as error:
        yield ("merges", name, "recipe"), str(error)
    yield from settings.findings(tuple(wrong), known, ("merges", name, "recipe"))


def _named(problem: Problem, recipe: str) -> Problem:
    """The problem; one with the recipe as a whole by the recipe's name, as it is mostly the experts that do not fit."""
    return problem if problem.key or not problem.line else Problem(recipe, 0, 0, "", problem.message)


def _search(name: str, merge: Merge, given: Mapping[str, Any], tasks: Mapping[str, list[str]]) -> Iterator[Finding]:
    level: Key = ("merges", name)
    yield from (((*level, "search", key), "leave it out: the experiment gives it") for key in _GIVEN if key in given)
    data = {key: value for key, value in given.items() if key not in _GIVEN}
    data |= {"base": "demo", "experts": {one: {"path": ".", "tasks": tasks.get(one, [one])} for one in merge.experts}}
    data |= {"recipe": merge.recipe} if merge.recipe else {}
    config, found = validate(SearchConfig, data, data)
    for key, message in [*found, *missing(data)]:
        yield (*level, "experts") if key[0] == "experts" else (*level, "search", *key), message
    yield from _unseen(level, merge, tasks)
    try:
        if config is not None:
            from fin_plugins.merging.search.method import read_method

            read_method(config, _models(merge))
    except FinError as error:
        yield (*level, "recipe"), str(error).removeprefix("recipe: ")


def _unseen(level: Key, merge: Merge, tasks: Mapping[str, list[str]]) -> Iterator[Finding]:
    known = shipped().tasks
    for number, expert in enumerate(merge.experts):
        of_expert = [task for task in tasks.get(expert, []) if task in known and known[task].fin.get("seen") is False]
        if of_expert:
            which = ", ".join(of_expert)
            yield (*level, "experts", number), f"{which}: marked as unseen: a search may not look there"
