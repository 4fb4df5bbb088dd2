"""Recipes checked against the installed mergekit, which itself ignores keys that it does not know.

Every finding carries the path of its key, so that the message can name a line.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from fin_plugins.common.validation import Finding, did_you_mean
from fin_plugins.common.yaml_nodes import Key
from fin_plugins.merging.recipes.recipe_placeholders import parse_placeholder

# Valid ranges of parameters for which mergekit accepts any number.
_RANGES: Mapping[str, tuple[float, float]] = {
    "density": (0, 1),
    "gamma": (0, 1),
    "epsilon": (0, 1),
    "t": (0, 1),
    "select_topk": (0, 1),
    "max_iter": (1, 100_000),
    "tol": (0, 1),
}
_TOKENIZER_RULE = "every input must have the base's vocabulary; the result gets the base's tokenizer and chat template"
_UNSUPPORTED = {
    "modules": "is for models of several parts, which are not supported: use models or slices",
    "tokenizer": f"leave it out: {_TOKENIZER_RULE}",
    "tokenizer_source": f"leave it out: {_TOKENIZER_RULE}",
    "chat_template": f"leave it out: {_TOKENIZER_RULE}",
}


def find_method(data: Mapping[str, Any]) -> Any:
    """Mergekit's object for the recipe's merge method.

    Raises:
        ValueError: the method is missing or unknown to mergekit.
    """
    from fin_plugins.compat.mergekit import methods

    known = methods()
    name = data.get("merge_method")
    if not isinstance(name, str) or name not in known:
        hint = did_you_mean(str(name), known) or f"; mergekit has {', '.join(sorted(known))}"
        raise ValueError(f"is missing{hint}" if name is None else f"{name}: no such method{hint}")
    return known[name]


def check_recipe(data: Mapping[str, Any], method: Any, overridden: Collection[str] = ()) -> Iterator[Finding]:
    """Check a recipe whose parameters are filled in and whose models are still placeholders.

    Args:
        data: the recipe.
        method: mergekit's object for its method.
        overridden: parameters set on the command line; their values in the recipe are not checked.
    """
    from mergekit.config import InputModelDefinition, InputSliceDefinition, MergeConfiguration, OutputSliceDefinition

    yield from _check_keys((), data, MergeConfiguration)
    yield from (((key,), message) for key, message in _UNSUPPORTED.items() if key in data)
    yield from _check_parameters((), data, method, overridden)
    if ("models" in data) == ("slices" in data):
        yield (), "should have either models or slices"
    for key, entry in _list_items(("models",), data.get("models", [])):
        yield from _check_model_entry(key, entry, InputModelDefinition, method, overridden)
    for key, piece in _list_items(("slices",), data.get("slices", [])):
        yield from _check_keys(key, piece, OutputSliceDefinition)
        yield from _check_parameters(key, piece, method, overridden)
        sources = piece.get("sources") if isinstance(piece, dict) else None
        for source_key, entry in _list_items((*key, "sources"), sources):
            yield from _check_model_entry(source_key, entry, InputSliceDefinition, method, overridden)
            yield from _check_layer_range(source_key, entry)


def check_parameter(name: str, value: Any, method: Any) -> str | None:
    """What is wrong with the value of a parameter, or None.

    Args:
        name: a parameter of the method.
        value: a number, a list over the layers, or a list of mappings with `value` and `filter`.
        method: mergekit's object for the method.
    """
    parameter = next(parameter for parameter in method.spec.parameters if parameter.name == name)
    for scalar, fault in _parameter_scalars(value):
        if fault:
            return fault
        try:
            parsed = parameter.validate(scalar)
        except ValueError:
            kind = getattr(parameter.value_type, "__name__", str(parameter.value_type))
            return f"{scalar}: should be a {kind}"
        if isinstance(parsed, float) and not math.isfinite(parsed):
            return f"{scalar}: should be a finite number"
        low, high = _RANGES.get(name, (-math.inf, math.inf))
        if isinstance(parsed, int | float) and not low <= parsed <= high:
            return f"{scalar}: should be from {low:g} to {high:g}"
    return None


def _check_model_entry(
    key: Key, entry: Any, definition: Any, method: Any, overridden: Collection[str]
) -> Iterator[Finding]:
    yield from _check_keys(key, entry, definition)
    yield from _check_parameters(key, entry, method, overridden, of_input=True)
    if isinstance(entry, dict) and not _is_model_placeholder(entry.get("model")):
        yield (
            (*key, "model"),
            "models are given on the command line: use ${base}, ${expert}, ${expert_a} or ${expert_b}",
        )


def _list_items(key: Key, items: Any) -> Iterator[tuple[Key, Any]]:
    for number, item in enumerate(items if isinstance(items, list) else []):
        yield (*key, number), item


def _check_keys(key: Key, mapping: Any, definition: Any) -> Iterator[Finding]:
    known = list(definition.model_fields)
    if not isinstance(mapping, dict):
        yield key, f"should be a mapping with the keys {', '.join(known)}"
        return
    for name in mapping:
        if name not in known:
            hint = did_you_mean(str(name), known) or f" (known: {', '.join(known)})"
            yield (*key, name), f"no such key{hint}; mergekit would ignore it"
    for name, field in definition.model_fields.items():
        if field.is_required() and name not in mapping:
            yield (*key, name), "is missing"
    for name in ("models", "slices", "sources"):
        if name in mapping and not (isinstance(mapping[name], list) and mapping[name]):
            yield (*key, name), "should be a list with at least one item"


def _check_parameters(
    key: Key, mapping: Any, method: Any, overridden: Collection[str], of_input: bool = False
) -> Iterator[Finding]:
    parameters = mapping.get("parameters") if isinstance(mapping, dict) else None
    if parameters is None:
        return
    key = (*key, "parameters")
    if not isinstance(parameters, dict):
        yield key, "should be a mapping"
        return
    known = {parameter.name: parameter for parameter in method.spec.parameters}
    for name, value in parameters.items():
        if name not in known:
            hint = did_you_mean(str(name), known) or f" (known: {', '.join(known) or 'none'})"
            yield (*key, name), f"not a parameter of {method.spec.name}{hint}; mergekit would ignore it"
        elif of_input and known[name].scope.value == "shared":
            yield (*key, name), f"applies to all inputs of {method.spec.name}: move it to the recipe's own parameters"
        elif name not in overridden and (message := check_parameter(name, value, method)):
            yield (*key, name), message


def _parameter_scalars(value: Any) -> Iterator[tuple[Any, str | None]]:
    """The scalars in a parameter's value, each with None, or with what is wrong with the form of the value."""
    if isinstance(value, list):
        if not value:
            yield value, "should not be empty"
        for item in value:
            yield from _parameter_scalars(item)
    elif isinstance(value, dict):
        if "value" in value and not set(value) - {"value", "filter"}:
            yield from _parameter_scalars(value["value"])
        else:
            yield value, "should have value and filter"
    else:
        yield value, "is missing" if value is None else None


def _check_layer_range(key: Key, entry: Any) -> Iterator[Finding]:
    layer_range = entry.get("layer_range") if isinstance(entry, dict) else None
    if layer_range is None:
        return
    is_pair = isinstance(layer_range, list) and [type(number) for number in layer_range] == [int, int]
    if not is_pair or not 0 <= layer_range[0] < layer_range[1]:
        yield (*key, "layer_range"), f"{layer_range}: should be two layers [from, to), the first one smaller"


def _is_model_placeholder(value: Any) -> bool:
    try:
        placeholder = parse_placeholder(value)
    except ValueError:
        return True  # reported where placeholders are filled in
    return placeholder is not None and placeholder.is_model
