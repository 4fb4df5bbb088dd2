"""`${name}` and `${name=default}`: what a recipe leaves open."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fin_plugins.common.validation import did_you_mean
from fin_plugins.common.yaml_file import Problems, parse_value
from fin_plugins.common.yaml_nodes import Key

# Filled in by the models of the command line.
BASE, EXPERT = "base", "expert"
FIRST, SECOND = "expert_a", "expert_b"
NAMED = "expert."
# Known once the models are: `1 / number of experts`, their number, the base's number of layers.
COUNTED = ("share", "experts", "layers")

_WHOLE = re.compile(r"\$\{\s*([A-Za-z][\w.-]*)\s*(?:=(.*))?\}", re.DOTALL)
_TERM = r"[A-Za-z_]\w*|\d+(?:\.\d+)?"
_SUM = re.compile(rf"\s*({_TERM})\s*(//|[-+*/])\s*({_TERM})\s*")
_OPERATIONS: dict[str, Callable[[float, float], float]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left / right,
    "//": lambda left, right: left // right,
}


@dataclass(frozen=True)
class Placeholder:
    """One open place: its name, and the text of its default, None where it has none."""

    name: str
    default: str | None = None

    @property
    def is_model(self) -> bool:
        """Whether a model is to stand there."""
        return self.name in (BASE, EXPERT, FIRST, SECOND) or self.name.startswith(NAMED)


def placeholder(value: Any) -> Placeholder | None:
    """The placeholder that a value is; None where it is none.

    Raises:
        ValueError: it has a placeholder in it and is not one, or has none that can be read.
    """
    if not isinstance(value, str) or "${" not in value:
        return None
    match = _WHOLE.fullmatch(value)
    if not match:
        raise ValueError(f"{value}: a placeholder is the whole value: ${{name}} or ${{name=default}}")
    return Placeholder(match[1], match[2])


def in_order(value: Any, key: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Every plain value below a value with its path, in the order of the file."""
    if isinstance(value, dict | list):
        for name, below in value.items() if isinstance(value, dict) else enumerate(value):
            yield from in_order(below, (*key, name))
    else:
        yield key, value


def evaluate(default: str, names: Mapping[str, Any]) -> Any:
    """The value of a default: a YAML value, a name, or `a + b` with one of + - * / //.

    Raises:
        ValueError: it names something unknown, or cannot be computed.
    """
    if match := _SUM.fullmatch(default):
        left, right = (_number(part, names) for part in (match[1], match[3]))
        try:
            return _OPERATIONS[match[2]](left, right)
        except ArithmeticError as error:
            raise ValueError(f"{default.strip()}: cannot be computed ({error})") from error
    name = default.strip()
    if name in names:
        return names[name]
    try:
        return parse_value(name, "default")
    except Problems as error:
        raise ValueError(f"{name}: no YAML value") from error


def _number(term: str, names: Mapping[str, Any]) -> float:
    value = names.get(term) if term in names or term[0].isalpha() else parse_value(term, "default")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{term}: no number that is known here{did_you_mean(term, names)}")
    return value
