"""Resolves a recipe: parameters from the command line or the recipe's defaults, models from the command line."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fin_plugins.common.bundled import MERGE_RECIPES, config_name
from fin_plugins.common.validation import did_you_mean
from fin_plugins.common.yaml_file import Problem, Problems, YamlFile, parse_value, read_yaml
from fin_plugins.common.yaml_nodes import Key
from fin_plugins.merging.recipes.recipe_model import UNKNOWN_LAYERS, Expert, MergeModels, ResolvedRecipe
from fin_plugins.merging.recipes.recipe_placeholders import (
    DERIVED,
    EXPERT,
    FIRST_EXPERT,
    NAMED_EXPERT,
    SECOND_EXPERT,
    evaluate_default,
    experts_for,
    insert_models,
    iter_leaves,
    iter_placeholders,
    parse_placeholder,
)
from fin_plugins.merging.recipes.recipe_validation import check_parameter, check_recipe, find_method


@dataclass(frozen=True)
class Recipe:
    """A recipe as read from its file."""

    name: str
    file: YamlFile


def read_recipe(name_or_path: str) -> Recipe:
    """Read a recipe.

    Args:
        name_or_path: a file, or the name of a bundled recipe.

    Raises:
        FinError: there is no such file.
        Problems: the file is not a YAML mapping.
    """
    file = read_yaml(MERGE_RECIPES.find(name_or_path))
    if file.problems:
        raise Problems(file.problems)
    return Recipe(config_name(Path(file.name)), file)


@dataclass(frozen=True)
class Setting:
    """A parameter set on the command line: `--set density=0.3`, `--set fomc.density=0.3` or `--weight fomc=0.3`.

    Attributes:
        flag: the flag as typed, for messages.
        expert: the expert it applies to; None for all.
        key: a placeholder of the recipe or a parameter of its method.
        value: the new value.
    """

    flag: str
    expert: str | None
    key: str
    value: Any

    def problem(self, message: str) -> Problem:
        """A problem with this setting."""
        return Problem(self.flag, 0, 0, "", message)


def read_settings(
    sets: Iterable[str], weights: Iterable[str], experts: Sequence[str]
) -> tuple[list[Setting], list[Problem]]:
    """Parse the values of `--set` and `--weight`; the last one of a key wins.

    Args:
        sets: `KEY=VALUE` or `EXPERT.KEY=VALUE`; the value is YAML.
        weights: `EXPERT=VALUE`.
        experts: names of the experts.

    Returns:
        The settings, and the problems with those that are malformed or name an unknown expert.
    """
    settings: dict[tuple[str | None, str], Setting] = {}
    problems: list[Problem] = []
    for option, text in [*(("--set", text) for text in sets), *(("--weight", text) for text in weights)]:
        try:
            setting = _parse_setting(option, text, experts)
            settings[setting.expert, setting.key] = setting
        except Problems as error:
            problems += error.problems
    return list(settings.values()), problems


def _parse_setting(option: str, text: str, experts: Sequence[str]) -> Setting:
    flag = f"{option} {text}"
    name, equals, value = (part.strip() for part in text.partition("="))
    # Parameters have no dot in their names; experts may.
    expert, _, key = (name, "", "weight") if option == "--weight" else name.rpartition(".")
    if not equals or not key:
        form = "EXPERT=NUMBER" if option == "--weight" else "KEY=VALUE, for example --set density=0.3"
        raise Problems([Problem(flag, 0, 0, "", f"should be {form}")])
    if (expert or option == "--weight") and expert not in experts:
        hint = did_you_mean(expert, experts) or f"; there are {', '.join(experts)}"
        raise Problems([Problem(flag, 0, 0, "", f"no expert is named {expert}{hint}")])
    return Setting(flag, expert or None, key, parse_value(value, flag))


def resolve_recipe(
    recipe: Recipe, models: MergeModels, settings: Sequence[Setting] = (), *, dtype: str | None = None, seed: int = 0
) -> ResolvedRecipe:
    """Fill in all placeholders of a recipe.

    Args:
        recipe: the recipe.
        models: the models that replace its placeholders.
        settings: parameters set on the command line.
        dtype: type of the result; None for the recipe's own, or the base's if the recipe has none.
        seed: seed for methods that draw at random.

    Raises:
        Problems: everything that is wrong with the recipe and the settings.
    """
    data = deepcopy(recipe.file.data)
    shared_settings = {setting.key: setting for setting in settings if setting.expert is None}
    findings = list(_fill_parameters(data, models, shared_settings))
    try:
        method = find_method(data)
    except ValueError as error:
        raise Problems([recipe.file.problem(("merge_method",), str(error))]) from error
    findings += check_recipe(data, method, shared_settings)
    findings += [((), message) for message in _check_experts(data, models, method)]
    findings += _check_layer_count(data, models)
    problems = [recipe.file.problem(key, message) for key, message in findings]
    problems += _check_settings(recipe, settings, method)
    if problems:
        raise Problems(problems)
    _override_parameters(data, recipe, shared_settings)
    return _build_resolved(data, recipe, models, settings, method, dtype, seed)


def _fill_parameters(
    data: dict[str, Any], models: MergeModels, settings: Mapping[str, Setting]
) -> Iterator[tuple[Key, str]]:
    """Replace the placeholders for parameters; yields those that cannot be replaced."""
    variables: dict[str, Any] = {
        "share": 1 / len(models.experts),
        "experts": len(models.experts),
        "layers": models.layers,
    }
    for key, value in list(iter_leaves(data)):
        try:
            placeholder = parse_placeholder(value)
            if placeholder is None or placeholder.is_model:
                continue
            name = placeholder.name
            if name not in DERIVED and name in settings:
                variables[name] = settings[name].value
            elif placeholder.default is not None:
                variables[name] = evaluate_default(placeholder.default, variables)
            elif name not in variables:
                yield key, f"has no default: add one, or pass --set {name}=VALUE{did_you_mean(name, variables)}"
                continue
            _set_value(data, key, variables[name])
        except ValueError as error:
            yield key, str(error)


def _check_layer_count(data: Mapping[str, Any], models: MergeModels) -> Iterator[tuple[Key, str]]:
    """Check that slices give a model with as many layers as the base, whose configuration the result gets."""
    try:
        ranges = [piece["sources"][0]["layer_range"] for piece in data["slices"]]
        count = sum(end - start for start, end in ranges)
    except (KeyError, TypeError, IndexError, ValueError):  # no slices, or malformed ones, which are reported elsewhere
        return
    if count != models.layers and models.layers != UNKNOWN_LAYERS:
        yield ("slices",), f"the result would have {count} layers, and the base has {models.layers}: keep all of them"


def _set_value(data: Any, key: Key, value: Any) -> None:
    for part in key[:-1]:
        data = data[part]
    data[key[-1]] = value


def _check_experts(data: Mapping[str, Any], models: MergeModels, method: Any) -> Iterator[str]:
    """Check that the recipe and its method accept these experts."""
    used = {placeholder.name for placeholder in iter_placeholders(data) if placeholder.is_model}
    given = [expert.name for expert in models.experts]
    named = [name.removeprefix(NAMED_EXPERT) for name in used if name.startswith(NAMED_EXPERT)]
    if named and set(named) != set(given):
        yield f"takes exactly the experts {', '.join(sorted(named))}; given: {', '.join(given)}"
    elif used & {FIRST_EXPERT, SECOND_EXPERT} and len(given) != 2:
        yield f"takes exactly two experts, expert_a and expert_b in the order given; given: {', '.join(given)}"
    elif EXPERT in used:
        least, most = _expert_limits(method, has_base=data.get("base_model") is not None)
        if not least <= len(given) <= most:
            amount = f"exactly {least}" if least == most else f"{least} or more"
            yield f"{method.spec.name} takes {amount} experts; given: {', '.join(given)}"
    elif not used & {FIRST_EXPERT, SECOND_EXPERT} and not named:
        yield "names no expert: put ${expert} where the experts belong"


def _expert_limits(method: Any, has_base: bool) -> tuple[int, float]:
    """The smallest and the largest number of experts."""
    contract, bases = method.spec.contract, int(has_base)
    limits = [limit for limit in (contract.max_non_base, (contract.max_inputs or 0) - bases) if limit and limit > 0]
    return max(contract.min_inputs - bases, contract.min_non_base or 0, 1), min(limits, default=float("inf"))


def _check_settings(recipe: Recipe, settings: Sequence[Setting], method: Any) -> Iterator[Problem]:
    known = {parameter.name: parameter for parameter in method.spec.parameters}
    placeholders = _parameter_placeholders(recipe)
    for setting in settings:
        if setting.key in DERIVED:
            yield setting.problem(f"{setting.key} follows from the models: set weight, or a placeholder of the recipe")
        elif setting.key in known:
            if message := check_parameter(setting.key, setting.value, method):
                yield setting.problem(message)
            elif setting.expert is not None and known[setting.key].scope.value == "shared":
                yield setting.problem(f"{setting.key} applies to all inputs of {method.spec.name}: drop the name")
        elif setting.key not in placeholders or setting.expert is not None:
            names = [*known, *placeholders]
            hint = did_you_mean(setting.key, names) or f"; there are {', '.join(dict.fromkeys(names)) or 'none'}"
            yield setting.problem(f"{method.spec.name} has no parameter {setting.key}{hint}")


def _parameter_placeholders(recipe: Recipe) -> set[str]:
    placeholders = iter_placeholders(recipe.file.data)
    return {placeholder.name for placeholder in placeholders if not placeholder.is_model} - {*DERIVED}


def _override_parameters(data: dict[str, Any], recipe: Recipe, settings: Mapping[str, Setting]) -> None:
    """Replace parameters that the recipe spells out; one it does not mention becomes a parameter for all inputs."""
    for key, setting in settings.items():
        if key not in _parameter_placeholders(recipe):
            paths = [path for path in _parameter_paths(data) if path[-1] == key]
            for path in paths:
                _set_value(data, path, setting.value)
            if not paths:
                data["parameters"] = {**(data.get("parameters") or {}), key: setting.value}


def _parameter_paths(data: Any, key: Key = ()) -> Iterator[Key]:
    for name, child in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        if name == "parameters" and isinstance(child, dict):
            yield from ((*key, name, parameter) for parameter in child)
        else:
            yield from _parameter_paths(child, (*key, name))


def _build_resolved(
    data: dict[str, Any],
    recipe: Recipe,
    models: MergeModels,
    settings: Sequence[Setting],
    method: Any,
    dtype: str | None,
    seed: int,
) -> ResolvedRecipe:
    expert_settings: dict[str, dict[str, Any]] = {expert.name: {} for expert in models.experts}
    for setting in settings:
        if setting.expert is not None:
            expert_settings[setting.expert][setting.key] = setting.value
    config = insert_models(data, models, expert_settings)
    # mergekit computes in float32; the result is rounded once, to out_dtype.
    config |= {"dtype": "float32", "out_dtype": dtype or data.get("out_dtype") or data.get("dtype") or models.dtype}
    parameters = config.get("parameters") or {}
    shared_names = {parameter.name for parameter in method.spec.parameters if parameter.scope.value == "shared"}
    input_defaults = {name: value for name, value in parameters.items() if name not in shared_names}
    entries = {entry["model"]: entry.get("parameters") or {} for entry in data.get("models", [])}
    experts = tuple(
        replace(
            expert,
            parameters={**input_defaults, **_entry_parameters(entries, models, expert), **expert_settings[expert.name]},
        )
        for expert in models.experts
    )
    problems = [recipe.file.problem((), message) for expert in experts for message in _check_epsilon(method, expert)]
    if problems:
        raise Problems(problems)
    shared = {name: value for name, value in parameters.items() if name in shared_names}
    return ResolvedRecipe(recipe.name, method.spec.name, models.base, models.base_name, experts, shared, config, seed)


def _entry_parameters(entries: Mapping[str, dict[str, Any]], models: MergeModels, expert: Expert) -> dict[str, Any]:
    """The parameters of the entry that stands for this expert."""
    for value, parameters in entries.items():
        if expert in experts_for(parse_placeholder(value), models):
            return parameters
    return {}


def _check_epsilon(method: Any, expert: Expert) -> Iterator[str]:
    """DELLA's rule for two parameters together, which mergekit would only report in the middle of the merge."""
    density, epsilon = (expert.parameters.get(name, 1.0) for name in ("density", "epsilon"))
    if not method.spec.name.startswith("della") or not all(isinstance(it, int | float) for it in (density, epsilon)):
        return
    if density < 1 and not epsilon < density < 1 - epsilon:
        yield f"{expert.name}: density - epsilon and density + epsilon should be within 0 and 1 ({density}, {epsilon})"
