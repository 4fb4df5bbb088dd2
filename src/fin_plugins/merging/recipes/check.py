"""What is wrong with a recipe, against mergekit as installed: mergekit itself takes no notice of keys it does not know.

Every finding has the path of its key, so that a line can be named.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from fin_plugins.common.validation import Finding, did_you_mean
from fin_plugins.common.yaml_nodes import Key
from fin_plugins.merging.recipes.placeholders import placeholder

# Smallest and largest value of parameters that mergekit takes any number for.
_RANGES: Mapping[str, tuple[float, float]] = {
    "density": (0, 1),
    "gamma": (0, 1),
    "epsilon": (0, 1),
    "t": (0, 1),
    "select_topk": (0, 1),
    "max_iter": (1, 100_000),
    "tol": (0, 1),
}
_OURS = "every input must have the base's vocabulary; the base's tokenizer and chat template go into the result"
_REFUSED = {
    "modules": "is for models of several parts, which are not merged here: use models or slices",
    "tokenizer": f"leave it out: {_OURS}",
    "tokenizer_source": f"leave it out: {_OURS}",
    "chat_template": f"leave it out: {_OURS}",
}


def method_of(data: Mapping[str, Any]) -> Any:
    """Mergekit's object of the recipe's method.

    Raises:
        ValueError: it names none, or one that mergekit does not have.
    """
    from fin_plugins.compat.mergekit import methods

    known = methods()
    name = data.get("merge_method")
    if not isinstance(name, str) or name not in known:
        near = did_you_mean(str(name), known) or f"; mergekit has {', '.join(sorted(known))}"
        raise ValueError(f"is missing{near}" if name is None else f"{name}: no such method{near}")
    return known[name]


def check_recipe(data: Mapping[str, Any], method: Any, changed: Collection[str] = ()) -> Iterator[Finding]:
    """Everything that is wrong with a recipe whose numbers are filled in and whose models are not.

    Args:
        data: the recipe.
        method: mergekit's object of its method.
        changed: parameters that the command line sets; their values are not looked at here.
    """
    from mergekit.config import InputModelDefinition, InputSliceDefinition, MergeConfiguration, OutputSliceDefinition

    yield from _keys((), data, MergeConfiguration)
    yield from (((key,), message) for key, message in _REFUSED.items() if key in data)
    yield from _parameters((), data, method, changed)
    if ("models" in data) == ("slices" in data):
        yield (), "should have either models or slices"
    for key, entry in _entries(("models",), data.get("models", [])):
        yield from _entry(key, entry, InputModelDefinition, method, changed)
    for key, piece in _entries(("slices",), data.get("slices", [])):
        yield from _keys(key, piece, OutputSliceDefinition)
        yield from _parameters(key, piece, method, changed)
        for below, entry in _entries((*key, "sources"), piece.get("sources") if isinstance(piece, dict) else None):
            yield from _entry(below, entry, InputSliceDefinition, method, changed)
            yield from _layers(below, entry)


def check_value(name: str, value: Any, method: Any) -> str | None:
    """What is wrong with a parameter's value: a number, a list over the layers, or a list of `value` and `filter`."""
    parameter = next(parameter for parameter in method.spec.parameters if parameter.name == name)
    for leaf in _leaves(value):
        if isinstance(leaf, str) and leaf.startswith("!"):
            return leaf[1:]
        try:
            parsed = parameter.validate(leaf)
        except ValueError:
            kind = getattr(parameter.value_type, "__name__", str(parameter.value_type))
            return f"{leaf}: should be a {kind}"
        if isinstance(parsed, float) and not math.isfinite(parsed):
            return f"{leaf}: should be a finite number"
        low, high = _RANGES.get(name, (-math.inf, math.inf))
        if isinstance(parsed, int | float) and not low <= parsed <= high:
            return f"{leaf}: should be from {low:g} to {high:g}"
    return None


def _entry(key: Key, entry: Any, model: Any, method: Any, changed: Collection[str]) -> Iterator[Finding]:
    yield from _keys(key, entry, model)
    yield from _parameters(key, entry, method, changed, of_input=True)
    if isinstance(entry, dict) and not _is_model(entry.get("model")):
        yield (*key, "model"), "models come from the command line: name ${base}, ${expert}, ${expert_a} or ${expert_b}"


def _entries(key: Key, listed: Any) -> Iterator[tuple[Key, Any]]:
    for number, entry in enumerate(listed if isinstance(listed, list) else []):
        yield (*key, number), entry


def _keys(key: Key, level: Any, model: Any) -> Iterator[Finding]:
    known = list(model.model_fields)
    if not isinstance(level, dict):
        yield key, f"should be a mapping of {', '.join(known)}"
        return
    for name in level:
        if name not in known:
            near = did_you_mean(str(name), known) or f" (known: {', '.join(known)})"
            yield (*key, name), f"no such key{near}; mergekit would take no notice of it"
    for name, field in model.model_fields.items():
        if field.is_required() and name not in level:
            yield (*key, name), "is missing"
    for name in ("models", "slices", "sources"):
        if name in level and not (isinstance(level[name], list) and level[name]):
            yield (*key, name), "should be a list of at least one"


def _parameters(
    key: Key, level: Any, method: Any, changed: Collection[str], of_input: bool = False
) -> Iterator[Finding]:
    given = level.get("parameters") if isinstance(level, dict) else None
    if given is None:
        return
    key = (*key, "parameters")
    if not isinstance(given, dict):
        yield key, "should be a mapping"
        return
    known = {parameter.name: parameter for parameter in method.spec.parameters}
    for name, value in given.items():
        if name not in known:
            near = did_you_mean(str(name), known) or f" (known: {', '.join(known) or 'none'})"
            yield (*key, name), f"no parameter of {method.spec.name}{near}; mergekit would take no notice of it"
        elif of_input and known[name].scope.value == "shared":
            yield (*key, name), f"holds for all inputs in {method.spec.name}: move it to the recipe's own parameters"
        elif name not in changed and (message := check_value(name, value, method)):
            yield (*key, name), message


def _leaves(value: Any) -> Iterator[Any]:
    """The plain values in a parameter's; what has another form is a text with a mark before its message."""
    if isinstance(value, list):
        for item in value or ["!should not be empty"]:
            yield from _leaves(item)
    elif isinstance(value, dict):
        unknown = [name for name in value if name not in ("value", "filter")]
        yield from _leaves(value["value"]) if "value" in value and not unknown else ["!should have value and filter"]
    else:
        yield "!is missing" if value is None else value


def _layers(key: Key, entry: Any) -> Iterator[Finding]:
    given = entry.get("layer_range") if isinstance(entry, dict) else None
    if given is None:
        return
    whole = isinstance(given, list) and len(given) == 2 and all(type(number) is int for number in given)
    if not whole or not 0 <= given[0] < given[1]:
        yield (*key, "layer_range"), f"{given}: should be two layers, the first smaller (from and not including to)"


def _is_model(value: Any) -> bool:
    try:
        found = placeholder(value)
    except ValueError:
        return True  # that much is said elsewhere
    return found is not None and found.is_model
