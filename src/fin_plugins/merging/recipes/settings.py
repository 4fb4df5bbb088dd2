"""What the command line changes in a recipe: `--set density=0.3`, `--set fomc.density=0.3`, `--weight fomc=0.3`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fin_plugins.common.validation import did_you_mean
from fin_plugins.common.yaml_file import Problem, Problems, parse_value


@dataclass(frozen=True)
class Setting:
    """One changed value.

    Attributes:
        place: as typed, for messages.
        expert: the one expert that it is for; None where it is for all.
        key: a placeholder of the recipe, or a parameter of its method.
        value: its new value.
    """

    place: str
    expert: str | None
    key: str
    value: Any

    def problem(self, message: str) -> Problem:
        """A problem with this setting."""
        return Problem(self.place, 0, 0, "", message)


def read_settings(
    sets: Iterable[str], weights: Iterable[str], experts: Sequence[str]
) -> tuple[list[Setting], list[Problem]]:
    """Settings as typed behind `--set` and `--weight`; a later one of the same key wins.

    Args:
        sets: `KEY=VALUE`, or `EXPERT.KEY=VALUE`; the value is YAML.
        weights: `EXPERT=VALUE`.
        experts: names of the experts there are.

    Returns:
        The settings, and what is wrong with those that are not of this form or name an expert that is not there.
    """
    found: dict[tuple[str | None, str], Setting] = {}
    problems: list[Problem] = []
    for flag, text in [*(("--set", text) for text in sets), *(("--weight", text) for text in weights)]:
        try:
            setting = _read(flag, text, experts)
            found[setting.expert, setting.key] = setting
        except Problems as error:
            problems += error.problems
    return list(found.values()), problems


def _read(flag: str, text: str, experts: Sequence[str]) -> Setting:
    place = f"{flag} {text}"
    name, equals, value = (part.strip() for part in text.partition("="))
    expert, key = (name, "weight") if flag == "--weight" else _split(name)
    if not equals or not key:
        form = "EXPERT=NUMBER" if flag == "--weight" else "KEY=VALUE, for example --set density=0.3"
        raise Problems([Problem(place, 0, 0, "", f"should be {form}")])
    if expert is not None and expert not in experts:
        near = did_you_mean(expert, experts) or f"; there are {', '.join(experts)}"
        raise Problems([Problem(place, 0, 0, "", f"no expert is named {expert}{near}")])
    return Setting(place, expert, key, parse_value(value, place))


def _split(name: str) -> tuple[str | None, str]:
    """`fomc.density` is the density of fomc; no parameter has a dot in its name, an expert may."""
    expert, _, key = name.rpartition(".")
    return expert or None, key
