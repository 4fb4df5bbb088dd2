"""`--set a.b=value`: single keys of a file, changed for one run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fin_plugins.common.yaml_file import Problem, Problems, YamlFile, dotted, parse_value
from fin_plugins.common.yaml_nodes import Key
from fin_plugins.training.config import SHORT_FOR


@dataclass(frozen=True)
class Override:
    """One changed key.

    Attributes:
        place: as typed, for messages.
        key: path of the key; a number is a list item's, from 0.
        value: its new value.
    """

    place: str
    key: Key
    value: Any

    def problem(self, key: Key, message: str) -> Problem:
        """A problem with this value, or with what stands in it; the key is named where it is not the one typed."""
        return Problem(self.place, 0, 0, "" if key == self.key else dotted(key), message)


def change(data: dict[str, Any], changes: Iterable[str | Override]) -> tuple[list[Override], list[Problem]]:
    """Make changes in a file's data; a later one wins.

    Args:
        data: as read from the file.
        changes: as typed behind `--set`, or read already.

    Returns:
        Those that could be made, and what is wrong with the others.
    """
    made: list[Override] = []
    problems: list[Problem] = []
    for given in changes:
        try:
            override = parse(given) if isinstance(given, str) else given
            apply(data, override)
            made.append(override)
        except Problems as error:
            problems += error.problems
    return made, problems


def placed(key: Key, message: str, file: YamlFile, changes: Sequence[Override]) -> Problem:
    """A problem at the change that brought it in, else at its line in the file."""
    for override in reversed(changes):
        made_the_parent = key[:-1] not in file.places and len(key) > 1 and override.key[: len(key) - 1] == key[:-1]
        if key[: len(override.key)] == override.key or (key not in file.places and made_the_parent):
            return override.problem(key, message)
    return file.problem(key, message)


def parse(text: str) -> Override:
    """Read `a.b=value`, the value being YAML.

    Raises:
        Problems: it is not of this form.
    """
    place = f"--set {text}"
    name, equals, value = text.partition("=")
    parts = [part.strip() for part in name.split(".")]
    if not equals or not all(parts):
        raise Problems([Problem(place, 0, 0, "", "should be KEY=VALUE, for example --set lora.r=32")])
    return Override(place, tuple(int(part) if _is_number(part) else part for part in parts), parse_value(value, place))


def apply(data: dict[str, Any], override: Override) -> None:
    """Change the key in a file's data; what it stands in is made where it is not there, or written out in full.

    Raises:
        Problems: it stands in something that has no keys.
    """
    parent: Any = data
    part: Any
    for depth, part in enumerate(override.key[:-1], start=1):
        _check(parent, override, depth)
        inner = parent.get(part) if isinstance(parent, dict) else parent[part]
        parent[part] = _written_out(inner, override.key[:depth])
        parent = parent[part]
    _check(parent, override, len(override.key))
    parent[override.key[-1]] = override.value


def _is_number(part: str) -> bool:
    return part.isascii() and part.isdecimal() and len(part) < 6


def _written_out(value: Any, key: Key) -> Any:
    """A mapping for what may stand short for one: `replay: self`, `- fin_fomc`, `validation: off`, nothing."""
    if value is None or value is False or value == "off":
        return {}
    if isinstance(value, str) and key[0] in SHORT_FOR and all(isinstance(part, int) for part in key[1:]):
        return {SHORT_FOR[str(key[0])]: value}
    return value


def _check(parent: Any, override: Override, depth: int) -> None:
    above, part = dotted(override.key[: depth - 1]), override.key[depth - 1]
    if isinstance(parent, list) and isinstance(part, int) and part < len(parent):
        return
    if isinstance(parent, dict) and isinstance(part, str):
        return
    message = f"{above} is a list of {len(parent)}, counted from 0" if isinstance(parent, list) else ""
    message = message or f"{above or 'the file'} has no key {part}"
    raise Problems([override.problem(override.key, f"{message}: name the key as the file has it")])
