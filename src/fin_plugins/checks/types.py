"""Whether a value from a YAML is of the type that lm-eval's dataclass states, in words for whoever wrote the value."""

from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from fin_plugins.checks.model import Function
from fin_plugins.common.validation import did_you_mean

_WORDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a mapping",
    list: "a list",
    Callable: "a !function",
    NoneType: "",
}


def type_problem(value: Any, stated: Any) -> str | None:
    """What the value should be instead; None where it is right, or where only running the task would tell."""
    if _fits(value, stated):
        return None
    near = did_you_mean(value, _literals(stated)) if isinstance(value, str) else ""
    return f"should be {_named(stated)}{near}, not {_shown(value)}"


def _fits(value: Any, stated: Any) -> bool:
    kind = get_origin(stated) or stated
    if kind in (Union, UnionType):
        return any(_fits(value, branch) for branch in get_args(stated))
    if kind is Literal:
        return value in get_args(stated)
    if stated is Any or isinstance(value, Function):  # what a function stands for is seen when it is called
        return True
    if is_dataclass(kind):
        return isinstance(value, dict)
    if kind is Callable:
        return False
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _named(stated: Any) -> str:
    words = [word for word in dict.fromkeys(_words(stated)) if word]
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _words(stated: Any) -> Iterator[str]:
    kind = get_origin(stated) or stated
    if kind in (Union, UnionType):
        for branch in get_args(stated):
            yield from _words(branch)
    elif kind is Literal:
        yield from map(str, get_args(stated))
    else:
        yield _WORDS.get(kind, _WORDS[dict])


def _literals(stated: Any) -> list[str]:
    if get_origin(stated) is Literal:
        return [str(one) for one in get_args(stated)]
    return [name for branch in get_args(stated) for name in _literals(branch)] if get_args(stated) else []


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, (dict, list)):
        return _WORDS[type(value)]
    return f"`{value}`" if isinstance(value, str) else str(value).lower()
