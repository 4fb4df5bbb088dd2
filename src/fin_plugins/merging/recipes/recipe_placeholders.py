"""Placeholders in a recipe, `${name}` and `${name=default}`, and the models that replace them."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from fin_plugins.common.validation import did_you_mean
from fin_plugins.common.yaml_file import Problems, parse_value
from fin_plugins.common.yaml_nodes import Key
from fin_plugins.merging.recipes.recipe_model import Expert, MergeModels

# Placeholders for models.
BASE, EXPERT = "base", "expert"
FIRST_EXPERT, SECOND_EXPERT = "expert_a", "expert_b"
NAMED_EXPERT = "expert."
# Numbers that follow from the models: 1 / number of experts, number of experts, number of the base's layers.
DERIVED = ("share", "experts", "layers")

_PLACEHOLDER = re.compile(r"\$\{\s*([A-Za-z][\w.-]*)\s*(?:=(.*))?\}", re.DOTALL)
_OPERAND = r"[A-Za-z_]\w*|\d+(?:\.\d+)?"
_EXPRESSION = re.compile(rf"\s*({_OPERAND})\s*(//|[-+*/])\s*({_OPERAND})\s*")
_OPERATORS: dict[str, Callable[[float, float], float]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left / right,
    "//": lambda left, right: left // right,
}


@dataclass(frozen=True)
class Placeholder:
    """A placeholder: its name, and the text of its default or None."""

    name: str
    default: str | None = None

    @property
    def is_model(self) -> bool:
        """Whether it stands for a model."""
        return self.name in (BASE, EXPERT, FIRST_EXPERT, SECOND_EXPERT) or self.name.startswith(NAMED_EXPERT)


def parse_placeholder(value: Any) -> Placeholder | None:
    """The placeholder that a value consists of, or None if it contains none.

    Raises:
        ValueError: the placeholder is malformed, or only a part of the value.
    """
    if not isinstance(value, str) or "${" not in value:
        return None
    match = _PLACEHOLDER.fullmatch(value)
    if not match:
        raise ValueError(f"{value}: a placeholder must be the entire value: ${{name}} or ${{name=default}}")
    return Placeholder(match[1], match[2])


def iter_placeholders(data: Any) -> Iterator[Placeholder]:
    """All well-formed placeholders below a value, in the order of the file."""
    for _, value in iter_leaves(data):
        try:
            placeholder = parse_placeholder(value)
        except ValueError:
            continue
        if placeholder is not None:
            yield placeholder


def iter_leaves(value: Any, key: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Path and value of each scalar below a value, in the order of the file."""
    if isinstance(value, dict | list):
        for name, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from iter_leaves(child, (*key, name))
    else:
        yield key, value


def evaluate_default(default: str, variables: Mapping[str, Any]) -> Any:
    """The value of a default: a YAML value, a variable, or `a + b` with one of the operators + - * / //.

    Raises:
        ValueError: a variable is unknown, or the expression cannot be computed.
    """
    if match := _EXPRESSION.fullmatch(default):
        left, right = (_operand(text, variables) for text in (match[1], match[3]))
        try:
            return _OPERATORS[match[2]](left, right)
        except ArithmeticError as error:
            raise ValueError(f"{default.strip()}: cannot be computed ({error})") from error
    name = default.strip()
    if name in variables:
        return variables[name]
    try:
        return parse_value(name, "default")
    except Problems as error:
        raise ValueError(f"{name}: invalid YAML") from error


def _operand(text: str, variables: Mapping[str, Any]) -> float:
    value = variables.get(text) if text in variables or text[0].isalpha() else parse_value(text, "default")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{text}: not a known number{did_you_mean(text, variables)}")
    return value


def experts_for(placeholder: Placeholder | None, models: MergeModels) -> Sequence[Expert]:
    """The experts that a placeholder stands for; none for the base."""
    if placeholder is None or placeholder.name == BASE:
        return ()
    if placeholder.name == EXPERT:
        return models.experts
    if placeholder.name in (FIRST_EXPERT, SECOND_EXPERT):
        return (models.experts[(FIRST_EXPERT, SECOND_EXPERT).index(placeholder.name)],)
    return tuple(expert for expert in models.experts if expert.name == placeholder.name.removeprefix(NAMED_EXPERT))


def insert_models(
    data: dict[str, Any], models: MergeModels, expert_parameters: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    """A recipe as mergekit reads it, with one entry per model.

    Args:
        data: the recipe; its parameters are filled in.
        models: the models that replace the placeholders.
        expert_parameters: additional parameters of single experts, by name.
    """
    config = deepcopy(data)
    for level in (config, *config.get("slices", [])):
        if level.get("base_model") is not None:
            level["base_model"] = _references(level["base_model"], models)[0][1]
        for name in ("models", "sources"):
            if name in level:
                level[name] = [
                    model for entry in level[name] for model in _expand_entry(entry, models, expert_parameters)
                ]
    return config


def _expand_entry(
    entry: dict[str, Any], models: MergeModels, expert_parameters: Mapping[str, dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    for name, reference in _references(entry["model"], models):
        parameters = {**(entry.get("parameters") or {}), **expert_parameters.get(name, {})}
        rest = {key: deepcopy(value) for key, value in entry.items() if key not in ("model", "parameters")}
        yield {"model": reference, **rest, **({"parameters": parameters} if parameters else {})}


def _references(value: str, models: MergeModels) -> list[tuple[str, str]]:
    """Name and mergekit reference of each model that a placeholder stands for; the base has no name."""
    experts = experts_for(parse_placeholder(value), models)
    return [(expert.name, expert.mergekit_reference(models.base)) for expert in experts] or [("", str(models.base))]
