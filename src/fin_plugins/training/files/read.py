"""Reads a training file: everything that is wrong with it in one go, each with its line, before anything is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fin_plugins.model_check import check
from fin_plugins.shipped import config_name
from fin_plugins.training.config import TrainConfig
from fin_plugins.training.files import overrides as changing
from fin_plugins.training.files.checks import check_names
from fin_plugins.training.files.overrides import Override
from fin_plugins.training.files.shipped import find
from fin_plugins.yaml_file import Problem, Problems, YamlFile, dotted, read_yaml
from fin_plugins.yaml_nodes import Key

_STAND_INS = {"model": "demo", "tasks": ["fin_fomc"]}


@dataclass(frozen=True)
class Configured:
    """A training file, read.

    Attributes:
        config: what it says, changes made.
        name: of the file, without its ending; runs are called by it.
        source: the file.
    """

    config: TrainConfig
    name: str
    source: Path

    @property
    def resolved(self) -> dict[str, Any]:
        """The configuration as plain data, every default written out; read again, it is the same configuration."""
        return self.config.model_dump(mode="json")


def read_config(name_or_path: str, settings: Sequence[str] = (), flags: Sequence[Override] = ()) -> Configured:
    """Read a training file.

    Args:
        name_or_path: a file, or the name of a shipped one.
        settings: changes as typed behind `--set`, `a.b=value`; a later one wins.
        flags: changes by other flags; they win over settings.

    Raises:
        FinError: there is no such file, or it cannot be read.
        Problems: all that is wrong with it and with the settings.
    """
    source = find(name_or_path)
    file = read_yaml(source)
    changes, wrong = _changed(file.data, settings, flags)
    problems = [*file.problems, *wrong]
    config, findings = check(TrainConfig, file.data, _STAND_INS)
    for key, message in [*findings, *check_names(file.data)]:
        # A value that could not be read is None here: that much has been said.
        if not any(f"{dotted(key)}.".startswith(f"{problem.key}.") for problem in file.problems if problem.key):
            problems.append(_placed(key, message, file, changes))
    if problems or config is None:
        raise Problems(problems)
    return Configured(config, config_name(source), source)


def _changed(
    data: dict[str, Any], settings: Sequence[str], flags: Sequence[Override]
) -> tuple[list[Override], list[Problem]]:
    """Make the changes; those that could be made, and what is wrong with the others."""
    made: list[Override] = []
    problems: list[Problem] = []
    changes: list[str | Override] = [*settings, *flags]
    for given in changes:
        try:
            change = changing.parse(given) if isinstance(given, str) else given
            changing.apply(data, change)
            made.append(change)
        except Problems as error:
            problems += error.problems
    return made, problems


def _placed(key: Key, message: str, file: YamlFile, changes: Sequence[Override]) -> Problem:
    """The problem at the change that brought it in, else at its line in the file."""
    for change in reversed(changes):
        made_the_parent = key[:-1] not in file.places and len(key) > 1 and change.key[: len(key) - 1] == key[:-1]
        if key[: len(change.key)] == change.key or (key not in file.places and made_the_parent):
            return change.problem(key, message)
    return file.problem(key, message)
