"""PyYAML's node graph as plain data with positions.

Unlike PyYAML's SafeLoader (and ruamel.yaml, which stops at the first error and expands aliases without limit), it
reports all duplicate keys, tags and bad scalars at once, and bounds nesting and aliases.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import yaml

Key = tuple[str | int, ...]
Place = tuple[int, int]

MAX_DEPTH = 50
MAX_ALIASED = 10_000

What = Literal["syntax", "encoding", "size", "whole", "twice", "tag", "value", "key"]
"""Kind of problem with YAML."""

_TAG = "tag:yaml.org,2002:"
_FUNCTION = "!function"
_TEXT_TAGS = {_TAG + name for name in ("str", "timestamp", "value", "merge")}
_TYPED_SCALARS = {_TAG + name for name in ("null", "bool", "int", "float")}


class Function(str):
    """The dotted path given by lm-eval's tag `!function`."""

    __slots__ = ()


class YamlError(NamedTuple):
    """One error in the YAML."""

    key: Key
    place: Place
    what: What
    message: str


@dataclass
class YamlNode:
    """A node and its children as plain data.

    Attributes:
        value: dictionaries, lists, text, numbers, booleans and None; erroneous values are None.
        places: line and column, from 1, of every key and list item, by its path.
        errors: all errors.
    """

    value: Any = None
    places: dict[Key, Place] = field(default_factory=dict)
    errors: list[YamlError] = field(default_factory=list)


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader with a limit on nesting, because its composer recurses once per level."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node.

        Raises:
            TooLarge: it is nested too deeply.
            yaml.MarkedYAMLError: it is not YAML.
        """
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _too_deep(self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


class TooLarge(yaml.MarkedYAMLError):
    """Aliases expand to too many values, or values are nested too deeply."""


def read_node(node: yaml.Node, functions: bool = False) -> YamlNode:
    """Convert a node and its children to plain data.

    Args:
        node: root node composed by PyYAML.
        functions: allow the tag `!function`; its values become `Function`s.

    Raises:
        TooLarge: aliases expand to too many values, or values are nested too deeply.
    """
    reader = _Reader(functions)
    reader.out.value = reader.value(node, ())
    return reader.out


def _too_deep(mark: yaml.Mark) -> TooLarge:
    return TooLarge(None, None, f"nested deeper than {MAX_DEPTH} levels", mark)


def _start(node: yaml.Node) -> Place:
    return node.start_mark.line + 1, node.start_mark.column + 1


class _Reader:
    def __init__(self, functions: bool) -> None:
        self.out = YamlNode()
        self._functions = functions
        self._scalars = yaml.SafeLoader("")
        self._open: list[yaml.Node] = []
        self._visited: set[int] = set()
        self._aliased = 0

    def value(self, node: yaml.Node, key: Key) -> Any:
        self._count(node)
        if any(node is parent for parent in self._open):
            return self._error(key, node, "value", "contains itself: an alias must not refer to a value it is part of")
        self._open.append(node)
        try:
            return self._value(node, key)
        finally:
            self._open.pop()

    def _count(self, node: yaml.Node) -> None:
        self._aliased += id(node) in self._visited
        self._visited.add(id(node))
        if self._aliased > MAX_ALIASED:
            message = f"aliases expand to more than {MAX_ALIASED} values"
            raise TooLarge(None, None, message, node.start_mark)
        if len(self._open) >= MAX_DEPTH:
            raise _too_deep(node.start_mark)

    def _value(self, node: yaml.Node, key: Key) -> Any:
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, key)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self._child(item, item, (*key, number)) for number, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _TEXT_TAGS:
            return self._text(node, key)
        if isinstance(node, yaml.ScalarNode) and node.tag in _TYPED_SCALARS:
            return self._scalar(node, key)
        if isinstance(node, yaml.ScalarNode) and node.tag == _FUNCTION and self._functions:
            text = self._text(node, key)
            return None if text is None else Function(text)
        shown = node.tag.replace(_TAG, "!!")
        return self._error(key, node, "tag", f"the tag {shown} is not allowed here: plain values only")

    def _child(self, position: yaml.Node, node: yaml.Node, key: Key) -> Any:
        self.out.places[key] = _start(position)
        return self.value(node, key)

    def _text(self, node: yaml.ScalarNode, key: Key) -> str | None:
        text: str = node.value
        if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
            self._error(key, node, "value", "text with a NUL character or a lone surrogate in it (\\0, \\ud800)")
            return None
        return text

    def _scalar(self, node: yaml.ScalarNode, key: Key) -> Any:
        kind = node.tag.removeprefix(_TAG)
        try:
            value = self._scalars.construct_object(node)
        except (ValueError, OverflowError, LookupError, AttributeError):  # `!!bool maybe` raises KeyError, for one
            return self._error(key, node, "value", f"cannot be read as YAML's {kind}: put it in quotes if it is text")
        if isinstance(value, int) and abs(value) >= 1 << 63:
            return self._error(key, node, "value", "number out of range")
        return value

    def _mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for name_node, value_node in node.value:
            if name_node.tag == _TAG + "merge":
                merged = self._merged(value_node, key) | merged
        direct: dict[str, Any] = {}
        for name_node, value_node in node.value:
            if name_node.tag != _TAG + "merge" and (name := self._name(name_node, direct, key)) is not None:
                direct[name] = self._child(name_node, value_node, (*key, name))
        return merged | direct

    def _merged(self, node: yaml.Node, key: Key) -> dict[str, Any]:
        """The keys that `<<: *anchor` or `<<: [*first, *second]` adds; the first mapping wins."""
        merged: dict[str, Any] = {}
        for part in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            value = self.value(part, key)
            if isinstance(value, dict):
                merged = value | merged
            else:
                self._error(key, part, "value", "`<<` takes a mapping, or a list of mappings")
        return merged

    def _name(self, node: yaml.Node, seen: dict[str, Any], key: Key) -> str | None:
        """A mapping's key; None if it is not a valid key."""
        if not isinstance(node, yaml.ScalarNode) or node.tag not in _TEXT_TAGS:
            shown = f"`{node.value}`" if isinstance(node, yaml.ScalarNode) else "this"
            self._error(key, node, "key", f"{shown} is not a valid key: put it in quotes if it is meant as one")
            return None
        name = self._text(node, key)
        if name is not None and name in seen:
            line = self.out.places[(*key, name)][0]
            self._error((*key, name), node, "twice", f"duplicate key; first given in line {line}")
        return name

    def _error(self, key: Key, node: yaml.Node, what: What, message: str) -> None:
        self.out.errors.append(YamlError(key, _start(node), what, message))
