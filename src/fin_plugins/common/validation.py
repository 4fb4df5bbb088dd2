"""The pydantic models of YAML files: what they share, and all that is wrong with a file, in words for its author."""

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
"""Begins the message about a key that must be there."""
UNKNOWN = "no such key"
"""Begins the message about a key that is not known."""

_LIST_AT_MOST = 12
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
    """No key that is not known, no infinite number, and nothing changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


def rule(key: str, message: str) -> PydanticCustomError:
    """A broken rule between keys, with the key that it is about, so that a line can be named."""
    return PydanticCustomError("rule", "{message}", {"key": key, "message": message})


def validate(
    model: type[Model], data: dict[str, Any], placeholders: Mapping[str, Any]
) -> tuple[Model | None, list[Finding]]:
    """The data as a model, or everything that is wrong with it.

    Args:
        model: what the data should be.
        data: as read from a file.
        placeholders: for the keys that must be there, a value that breaks no rule.
    """
    checked, found = validate_partial(model, data, placeholders)
    return (None if found else checked), found


def validate_partial(
    model: type[Model], data: dict[str, Any], placeholders: Mapping[str, Any]
) -> tuple[Model | None, list[Finding]]:
    """The data as a model without the keys that are wrong, and everything that is wrong with them.

    pydantic looks at rules between keys only where each key alone is right; so that they are reported in the same
    run, the data is looked at again without the keys that are wrong. A rule is not held against keys of which one is
    left out for a mistake of its own.

    Args:
        model: what the data should be.
        data: as read from a file.
        placeholders: for the keys that must be there, a value that breaks no rule.

    Returns:
        The model, None where nothing is left that is one; and the findings.
    """
    found: list[Finding] = []
    looked_at, wrong = data, set[Key]()
    while True:
        try:
            return model.model_validate(looked_at), found
        except ValidationError as error:
            found += _findings(error, model, looked_at, without=wrong)
            keys = {key for key, _ in _findings(error, model, looked_at)}
        if keys <= wrong:  # without them it is no better: what they stand in goes, too
            keys = {key[:-1] for key in keys}
        if () in keys:
            return None, found
        wrong |= keys
        looked_at = {**placeholders, **_without(data, wrong)}


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """` (did you mean …?)`, or nothing where no known name comes near."""
    names = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(given.casefold(), list(names), n=1)
    return f" (did you mean {names[near[0]]}?)" if near else ""


def _findings(
    error: ValidationError, model: type[BaseModel], data: Any, without: Collection[Key] = ()
) -> list[Finding]:
    """One finding a key; what several branches of a union say about it is joined by `or`.

    Where keys were left out, broken rules only, and of these none that is about a key left out.
    """
    said: dict[Key, list[str]] = {}
    branches: set[Key] = set()
    for entry in error.errors(include_url=False):
        key, in_a_branch = _key(entry, data)
        rule = entry["type"] in _RULES and not {key, (*key, *_rule_key(entry))} & set(without)
        if rule or not without:
            branches |= {key} if in_a_branch else set()
            said.setdefault(key, []).append(_message(entry, key, model))
    deeper = {key[:end] for key in said for end in range(len(key))}
    return [(key, _joined(messages)) for key, messages in said.items() if key not in branches & deeper]


def _key(entry: Any, data: Any) -> tuple[Key, bool]:
    """The path in the data, and whether pydantic's had the name of a union's branch in it."""
    key: list[str | int] = []
    in_a_branch = False
    for part in (*entry["loc"], *_rule_key(entry)):
        if _there(data, (part,)):
            data = data[part]
        elif entry["type"] != "missing":
            in_a_branch = True
            continue
        key.append(part)
    return tuple(key), in_a_branch


def _rule_key(entry: Any) -> tuple[str, ...]:
    """The key that a rule between keys says it is about."""
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
    """A key of this level that comes near, or where a key of this very name belongs, or the few keys there are."""
    known = list(level.model_fields) if level else []
    if near := did_you_mean(name, known):
        return near
    elsewhere = [path for path in _paths(model) if path.split(".")[-1] == name]
    if elsewhere:
        return f" here (did you mean {elsewhere[0]}?)"
    return f" (known: {', '.join(known)})" if len(known) <= _LIST_AT_MOST else ""


def _paths(model: type[BaseModel], above: str = "") -> Iterator[str]:
    for name, info in model.model_fields.items():
        yield above + name
        between = "NAME." if any(get_origin(each) is dict for each in _variants(info.annotation)) else ""
        for inner in _models_in(info.annotation):
            yield from _paths(inner, f"{above}{name}.{between}")


def _level(model: type[BaseModel], key: Key) -> type[BaseModel] | None:
    """The model that describes what stands under a key."""
    annotation: Any = model
    for part in key:
        annotation = next(_below(annotation, part), None)
    return next(_models_in(annotation), None)


def _below(annotation: Any, part: str | int) -> Iterator[Any]:
    """What describes the value of one key, or of one item, of what the annotation describes."""
    for each in _variants(annotation):
        if isinstance(each, type) and issubclass(each, BaseModel):
            if part in each.model_fields:
                yield each.model_fields[str(part)].annotation
        elif get_origin(each) in (dict, list):
            yield get_args(each)[-1]


def _variants(annotation: Any) -> Iterator[Any]:
    """The types that an annotation allows, without what is said about them."""
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
    """A copy less these keys; where one is not even there, less what it is missing in."""
    parents = ([key[:end] for end in range(len(key), -1, -1)] for key in keys)
    gone = {next(part for part in above if _there(data, part)) for above in parents}
    rest = deepcopy(data)
    # The last items of a list go first, so that the others keep their number.
    for key in sorted(gone, key=lambda key: [(isinstance(part, int), part) for part in key], reverse=True):
        if key and not any(key[:end] in gone for end in range(1, len(key))):
            parent: Any = rest
            for part in key[:-1]:
                parent = parent[part]
            del parent[key[-1]]
    return rest


def _there(data: Any, key: Key) -> bool:
    for part in key:
        in_list = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if not in_list and not (isinstance(data, dict) and part in data):
            return False
        data = data[part]
    return True
