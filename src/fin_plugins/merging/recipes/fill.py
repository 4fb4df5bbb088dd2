"""Fills a recipe in: numbers from the command line or its own defaults, models from the command line."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fin_plugins.common.bundled import MERGE_RECIPES, config_name
from fin_plugins.common.validation import did_you_mean
from fin_plugins.common.yaml_file import Problem, Problems, YamlFile, read_yaml
from fin_plugins.common.yaml_nodes import Key
from fin_plugins.merging.model import Expert, Filled
from fin_plugins.merging.recipes import placeholders as open_places
from fin_plugins.merging.recipes.check import check_recipe, check_value, method_of
from fin_plugins.merging.recipes.expand import ANY_LAYERS, Models, stands_for, with_models
from fin_plugins.merging.recipes.placeholders import COUNTED, EXPERT, FIRST, NAMED, SECOND, Placeholder, placeholder
from fin_plugins.merging.recipes.settings import Setting


@dataclass(frozen=True)
class Recipe:
    """A recipe as it stands in its file, with the name it is called by."""

    name: str
    file: YamlFile


def read_recipe(name_or_path: str) -> Recipe:
    """Read a recipe: a file, or a shipped one by its name.

    Raises:
        FinError: there is no such file.
        Problems: it is no YAML mapping.
    """
    file = read_yaml(MERGE_RECIPES.find(name_or_path))
    if file.problems:
        raise Problems(file.problems)
    return Recipe(config_name(Path(file.name)), file)


def fill(
    recipe: Recipe, models: Models, settings: Sequence[Setting] = (), *, dtype: str | None = None, seed: int = 0
) -> Filled:
    """Fill a recipe in.

    Args:
        recipe: the recipe.
        models: what takes the places of its models.
        settings: what the command line changes.
        dtype: of the result; None for the recipe's own, and where it has none, the base's.
        seed: for the methods that draw at random.

    Raises:
        Problems: all that is wrong with the recipe and the settings.
    """
    data = deepcopy(recipe.file.data)
    common = {setting.key: setting for setting in settings if setting.expert is None}
    findings = list(_numbers(data, models, common))
    try:
        method = method_of(data)
    except ValueError as error:
        raise Problems([recipe.file.problem(("merge_method",), str(error))]) from error
    findings += check_recipe(data, method, common)
    findings += [((), message) for message in _experts(data, models, method)]
    findings += _layers(data, models)
    problems = [recipe.file.problem(key, message) for key, message in findings]
    problems += _settings(recipe, settings, method)
    if problems:
        raise Problems(problems)
    _override(data, recipe, common)
    return _filled(data, recipe, models, settings, method, dtype, seed)


def _numbers(data: dict[str, Any], models: Models, common: Mapping[str, Setting]) -> Iterator[tuple[Key, str]]:
    """Fill in the places that are no models; what could not be filled in."""
    names: dict[str, Any] = {"share": 1 / len(models.experts), "experts": len(models.experts), "layers": models.layers}
    for key, value in list(open_places.in_order(data)):
        try:
            found = placeholder(value)
            if found is None or found.is_model:
                continue
            if found.name not in COUNTED and found.name in common:
                names[found.name] = common[found.name].value
            elif found.default is not None:
                names[found.name] = open_places.evaluate(found.default, names)
            elif found.name not in names:
                yield (
                    key,
                    f"has no default here: give it one, or --set {found.name}=VALUE{did_you_mean(found.name, names)}",
                )
                continue
            _put(data, key, names[found.name])
        except ValueError as error:
            yield key, str(error)


def _layers(data: Mapping[str, Any], models: Models) -> Iterator[tuple[Key, str]]:
    """Whether slices give a model of the base's length: its configuration is taken over."""
    try:
        ranges = [piece["sources"][0]["layer_range"] for piece in data["slices"]]
        count = sum(end - start for start, end in ranges)
    except (KeyError, TypeError, IndexError, ValueError):  # no slices; or what is wrong with them is said elsewhere
        return
    if count != models.layers and models.layers != ANY_LAYERS:
        yield ("slices",), f"the result would have {count} layers, and the base has {models.layers}: keep all of them"


def _put(data: Any, key: Key, value: Any) -> None:
    for part in key[:-1]:
        data = data[part]
    data[key[-1]] = value


def _experts(data: Mapping[str, Any], models: Models, method: Any) -> Iterator[str]:
    """Whether the recipe and its method take these experts."""
    used = {found.name for _, value in open_places.in_order(data) if (found := _place(value)) and found.is_model}
    given = [expert.name for expert in models.experts]
    named = [name.removeprefix(NAMED) for name in used if name.startswith(NAMED)]
    if named and set(named) != set(given):
        yield f"takes exactly the experts {', '.join(sorted(named))}; given: {', '.join(given)}"
    elif used & {FIRST, SECOND} and len(given) != 2:
        yield f"takes exactly two experts, expert_a and expert_b in the order given; given: {', '.join(given)}"
    elif EXPERT in used:
        least, most = _allowed(method, has_base=data.get("base_model") is not None)
        if not least <= len(given) <= most:
            amount = f"exactly {least}" if least == most else f"{least} or more"
            yield f"{method.spec.name} takes {amount} experts; given: {', '.join(given)}"
    elif not used & {FIRST, SECOND} and not named:
        yield "names no expert: put ${expert} where each of them is to stand"


def _allowed(method: Any, has_base: bool) -> tuple[int, float]:
    """The smallest and the largest number of experts."""
    contract, others = method.spec.contract, int(has_base)
    most = [limit for limit in (contract.max_non_base, (contract.max_inputs or 0) - others) if limit and limit > 0]
    return max(contract.min_inputs - others, contract.min_non_base or 0, 1), min(most, default=float("inf"))


def _place(value: Any) -> Placeholder | None:
    """The placeholder; None, too, for what is refused elsewhere."""
    try:
        return placeholder(value)
    except ValueError:
        return None


def _settings(recipe: Recipe, settings: Sequence[Setting], method: Any) -> Iterator[Problem]:
    """What is wrong with the command line's changes."""
    known = {parameter.name: parameter for parameter in method.spec.parameters}
    places = _open(recipe)
    for setting in settings:
        if setting.key in COUNTED:
            yield setting.problem(f"{setting.key} follows from the models: set weight, or what the recipe leaves open")
        elif setting.key in known:
            if message := check_value(setting.key, setting.value, method):
                yield setting.problem(message)
            elif setting.expert is not None and known[setting.key].scope.value == "shared":
                yield setting.problem(f"{setting.key} holds for all inputs in {method.spec.name}: leave the name away")
        elif setting.key not in places or setting.expert is not None:
            names = [*known, *places]
            near = did_you_mean(setting.key, names) or f"; there are {', '.join(dict.fromkeys(names)) or 'none'}"
            yield setting.problem(f"{method.spec.name} has no parameter {setting.key}{near}")


def _open(recipe: Recipe) -> set[str]:
    found = (_place(value) for _, value in open_places.in_order(recipe.file.data))
    return {place.name for place in found if place and not place.is_model} - {*COUNTED}


def _override(data: dict[str, Any], recipe: Recipe, common: Mapping[str, Setting]) -> None:
    """Change what the recipe itself has written out; a parameter that it does not name goes to its own parameters."""
    for key, setting in common.items():
        if key not in _open(recipe):
            there = [path for path, _ in _parameters_of(data) if path[-1] == key]
            for path in there:
                _put(data, path, setting.value)
            if not there:
                data["parameters"] = {**(data.get("parameters") or {}), key: setting.value}


def _parameters_of(data: Any, key: Key = ()) -> Iterator[tuple[Key, Any]]:
    for name, below in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        if name == "parameters" and isinstance(below, dict):
            yield from (((*key, name, parameter), value) for parameter, value in below.items())
        else:
            yield from _parameters_of(below, (*key, name))


def _filled(
    data: dict[str, Any],
    recipe: Recipe,
    models: Models,
    settings: Sequence[Setting],
    method: Any,
    dtype: str | None,
    seed: int,
) -> Filled:
    own: dict[str, dict[str, Any]] = {expert.name: {} for expert in models.experts}
    for setting in settings:
        if setting.expert is not None:
            own[setting.expert][setting.key] = setting.value
    config = with_models(data, models, own)
    # What comes from the base's files alone is said once: computing in float32, rounding to the result's type once.
    config |= {"dtype": "float32", "out_dtype": dtype or data.get("out_dtype") or data.get("dtype") or models.dtype}
    of_all = config.get("parameters") or {}
    shared = {p.name for p in method.spec.parameters if p.scope.value == "shared"}
    each = {name: value for name, value in of_all.items() if name not in shared}
    listed = {entry["model"]: entry.get("parameters") or {} for entry in data.get("models", [])}
    experts = tuple(
        replace(expert, parameters={**each, **_own(listed, models, expert), **own[expert.name]})
        for expert in models.experts
    )
    problems = [recipe.file.problem((), message) for expert in experts for message in _chances(method, expert)]
    if problems:
        raise Problems(problems)
    parameters = {name: value for name, value in of_all.items() if name in shared}
    return Filled(recipe.name, method.spec.name, models.base, models.base_name, experts, parameters, config, seed)


def _own(listed: Mapping[str, dict[str, Any]], models: Models, expert: Expert) -> dict[str, Any]:
    """The parameters at the entry that stands for this expert."""
    for value, parameters in listed.items():
        if expert in stands_for(placeholder(value), models):
            return parameters
    return {}


def _chances(method: Any, expert: Expert) -> Iterator[str]:
    """What della asks of two parameters together; mergekit says so halfway through."""
    density, epsilon = (expert.parameters.get(name, 1.0) for name in ("density", "epsilon"))
    if not (method.spec.name.startswith("della") and all(isinstance(part, int | float) for part in (density, epsilon))):
        return
    if density < 1 and not epsilon < density < 1 - epsilon:
        yield f"{expert.name}: density {density} less and more epsilon {epsilon} should be within 0 and 1"
