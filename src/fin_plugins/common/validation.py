"""Validation of user-written configurations with pydantic: all findings at once, worded for the author of the file."""

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from copy import deepcopy
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from fin_plugins.common.yaml_nodes import Key

Finding = tuple[Key, str]

Model = TypeVar("Model", bound=BaseModel)

MISSING = "is missing"
"""Start of the message about a missing key."""
UNKNOWN = "no such key"
"""Start of the message about an unknown key."""

_MAX_LISTED_KEYS = 12
_RULES = ("value_error", "rule")


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("should be a number, not yes or no")
    return value


Text = Annotated[str, Field(min_length=1)]
Number = BeforeValidator(_number)
Positive = Annotated[int, Number, Field(gt=0)]
Share = Annotated[float, Number, Field(gt=0)]


class StrictModel(BaseModel):
    """Base of all configurations: no unknown keys, no infinite numbers, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


def rule(key: str, message: str) -> PydanticCustomError:
    """An error for a broken rule between keys, with the key it is about, so that its line can be shown."""
    return PydanticCustomError("rule", "{message}", {"key": key, "message": message})


def validate(
    model: type[Model], data: dict[str, Any], placeholders: Mapping[str, Any]
) -> tuple[Model | None, list[Finding]]:
    """Validate data.

    Args:
        model: the expected model.
        data: content of a file.
        placeholders: a valid value for each required key.

    Returns:
        The model, None if anything is wrong; and all findings.
    """
    checked, findings = validate_partial(model, data, placeholders)
    return (None if findings else checked), findings


def validate_partial(
    model: type[Model], data: dict[str, Any], placeholders: Mapping[str, Any]
) -> tuple[Model | None, list[Finding]]:
    """Validate data, leaving invalid keys out.

    pydantic checks rules between keys only if each key is valid by itself. To report broken rules in the same run, the
    data is validated again without the invalid keys. A rule that involves a key left out is not applied.

    Args:
        model: the expected model.
        data: content of a file.
        placeholders: a valid value for each required key.

    Returns:
        The model without the invalid keys, None if no valid model is left; and all findings.
    """
    findings: list[Finding] = []
    remaining, invalid = data, set[Key]()
    while True:
        try:
            return model.model_validate(remaining), findings
        except ValidationError as error:
            findings += _findings(error, model, remaining, without=invalid)
            keys = {key for key, _ in _findings(error, model, remaining)}
        if keys <= invalid:  # removing them did not help: remove their parents too
            keys = {key[:-1] for key in keys}
        if () in keys:
            return None, findings
        invalid |= keys
        remaining = {**placeholders, **_without(data, invalid)}


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """` (did you mean …?)`, or an empty string if no known name is similar."""
    names = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(given.casefold(), list(names), n=1)
    return f" (did you mean {names[near[0]]}?)" if near else ""


def _findings(
    error: ValidationError, model: type[BaseModel], data: Any, without: Collection[Key] = ()
) -> list[Finding]:
    """One finding per key; messages of several branches of a union are joined by `or`.

    If keys were left out, only broken rules are reported, except rules about those keys.
    """
    messages: dict[Key, list[str]] = {}
    branches: set[Key] = set()
    for entry in error.errors(include_url=False):
        key, in_branch = _key(entry, data)
        rule = entry["type"] in _RULES and not {key, (*key, *_rule_key(entry))} & set(without)
        if rule or not without:
            branches |= {key} if in_branch else set()
            messages.setdefault(key, []).append(_message(entry, key, model))
    deeper = {key[:end] for key in messages for end in range(len(key))}
    return [(key, _joined(texts)) for key, texts in messages.items() if key not in branches & deeper]


def _key(entry: Any, data: Any) -> tuple[Key, bool]:
    """The path in the data, and whether pydantic's path names a branch of a union."""
    key: list[str | int] = []
    in_branch = False
    for part in (*entry["loc"], *_rule_key(entry)):
        if _contains(data, (part,)):
            data = data[part]
        elif entry["type"] != "missing":
            in_branch = True
            continue
        key.append(part)
    return tuple(key), in_branch


def _rule_key(entry: Any) -> tuple[str, ...]:
    """The key that a broken rule is about."""
    return (entry["ctx"]["key"],) if entry["type"] == "rule" else ()


def _message(entry: Any, key: Key, model: type[BaseModel]) -> str:
    level = _level(model, key[:-1])
    match entry["type"]:
        case "missing":
            about = level.model_fields[str(key[-1])].description or "" if level else ""
            return MISSING + (f": {' '.join(about.split())}" if about else "")
        case "extra_forbidden":
            return f"{UNKNOWN}{_key_hint(str(key[-1]), level, model)}"
        case "literal_error":
            names = re.findall(r"'([^']*)'", entry["ctx"]["expected"])
            return f"should be {' or '.join(names)}{did_you_mean(str(entry['input']), names)}"
        case "model_type" | "dict_type":
            inner = _level(model, key)
            return "should be a mapping" + (f" of {', '.join(inner.model_fields)}" if inner else "")
        case "value_error" | "rule":
            return str(entry["msg"]).removeprefix("Value error, ")
    return str(entry["msg"]).replace("Input should", "should").replace("String should", "should")


def _joined(messages: list[str]) -> str:
    first, *others = dict.fromkeys(messages)
    return " or ".join([first, *(message.removeprefix("should be ") for message in others)])


def _key_hint(name: str, level: type[BaseModel] | None, model: type[BaseModel]) -> str:
    """A hint for an unknown key: a similar key, the place where it belongs, or the list of keys if short."""
    known = list(level.model_fields) if level else []
    if near := did_you_mean(name, known):
        return near
    elsewhere = [path for path in _paths(model) if path.split(".")[-1] == name]
    if elsewhere:
        return f" here (did you mean {elsewhere[0]}?)"
    return f" (known: {', '.join(known)})" if len(known) <= _MAX_LISTED_KEYS else ""


def _paths(model: type[BaseModel], above: str = "") -> Iterator[str]:
    for name, info in model.model_fields.items():
        yield above + name
        between = "NAME." if any(get_origin(variant) is dict for variant in _variants(info.annotation)) else ""
        for inner in _models_in(info.annotation):
            yield from _paths(inner, f"{above}{name}.{between}")


def _level(model: type[BaseModel], key: Key) -> type[BaseModel] | None:
    """The model that describes the value of a key."""
    annotation: Any = model
    for part in key:
        annotation = next(_below(annotation, part), None)
    return next(_models_in(annotation), None)


def _below(annotation: Any, part: str | int) -> Iterator[Any]:
    """The annotation of one key or item of an annotated value."""
    for each in _variants(annotation):
        if isinstance(each, type) and issubclass(each, BaseModel):
            if part in each.model_fields:
                yield each.model_fields[str(part)].annotation
        elif get_origin(each) in (dict, list):
            yield get_args(each)[-1]


def _variants(annotation: Any) -> Iterator[Any]:
    """The types that an annotation allows, without metadata."""
    if get_origin(annotation) is Annotated:
        yield from _variants(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for each in get_args(annotation):
            yield from _variants(each)
    else:
        yield annotation


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _without(data: dict[str, Any], keys: Iterable[Key]) -> dict[str, Any]:
    """A copy without these keys; for a missing key, without its parent."""
    parents = ([key[:end] for end in range(len(key), -1, -1)] for key in keys)
    removed = {next(part for part in above if _contains(data, part)) for above in parents}
    rest = deepcopy(data)
    # Remove the last items of a list first, so that the other indices stay valid.
    for key in sorted(removed, key=lambda key: [(isinstance(part, int), part) for part in key], reverse=True):
        if key and not any(key[:end] in removed for end in range(1, len(key))):
            parent: Any = rest
            for part in key[:-1]:
                parent = parent[part]
            del parent[key[-1]]
    return rest


def _contains(data: Any, key: Key) -> bool:
    for part in key:
        in_list = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if not in_list and not (isinstance(data, dict) and part in data):
            return False
        data = data[part]
    return True
