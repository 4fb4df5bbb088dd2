"""Loads training files: applies overrides, then reports all problems together, before anything heavy is imported."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fin_plugins.common.bundled import TRAINING_CONFIGS, config_name
from fin_plugins.common.validation import validate
from fin_plugins.common.yaml_file import Problem, Problems, YamlFile, dotted, parse_value, read_yaml
from fin_plugins.common.yaml_nodes import Key
from fin_plugins.training.config_checks import Depth, check_names, check_tasks
from fin_plugins.training.train_config import SHORT_FOR, TrainConfig

_PLACEHOLDERS = {"model": "demo", "tasks": ["fin_fomc"]}


@dataclass(frozen=True)
class LoadedConfig:
    """A training file that has been read.

    Attributes:
        config: the configuration, with overrides applied.
        name: file name without its ending; it is the name of the run.
        source: the file.
    """

    config: TrainConfig
    name: str
    source: Path

    @property
    def resolved(self) -> dict[str, Any]:
        """The configuration as plain data, with all defaults filled in."""
        return self.config.model_dump(mode="json")


def read_config(
    name_or_path: str, settings: Sequence[str] = (), overrides: Sequence["Override"] = (), depth: Depth = "names"
) -> LoadedConfig:
    """Read a training file.

    Args:
        name_or_path: a file, or the name of a bundled one.
        settings: arguments of `--set`, as in `a.b=value`; a later one wins.
        overrides: further overrides, which win over `settings`.
        depth: how thoroughly to check the tasks.

    Raises:
        FinError: the file does not exist or cannot be read.
        Problems: the file or the settings are invalid; lists every problem.
    """
    source = TRAINING_CONFIGS.find(name_or_path)
    file = read_yaml(source)
    applied, override_problems = apply_overrides(file.data, [*settings, *overrides])
    problems = [*file.problems, *override_problems]
    config, findings = validate(TrainConfig, file.data, _PLACEHOLDERS)
    for key, message in [*findings, *check_names(file.data), *check_tasks(file.data, depth)]:
        # An unreadable value is None in the data, and its problem has been reported.
        if not any(f"{dotted(key)}.".startswith(f"{problem.key}.") for problem in file.problems if problem.key):
            problems.append(locate_problem(key, message, file, applied))
    if problems or config is None:
        raise Problems(problems)
    return LoadedConfig(config, config_name(source), source)


@dataclass(frozen=True)
class Override:
    """A new value for one key of a file.

    Attributes:
        source: where the override comes from, for error messages, for example `--set lora.r=32`.
        key: path of the key; a number is an index into a list, from 0.
        value: the new value.
    """

    source: str
    key: Key
    value: Any

    def problem(self, key: Key, message: str) -> Problem:
        """A problem with the value or a part of it; `key` is named if it differs from the overridden key."""
        return Problem(self.source, 0, 0, "" if key == self.key else dotted(key), message)


def apply_overrides(data: dict[str, Any], overrides: Iterable[str | Override]) -> tuple[list[Override], list[Problem]]:
    """Apply overrides to the data of a file, in place; a later one wins.

    Args:
        data: content of the file.
        overrides: overrides, or arguments of `--set`.

    Returns:
        The overrides applied, and the problems with the others.
    """
    applied: list[Override] = []
    problems: list[Problem] = []
    for item in overrides:
        try:
            override = parse_override(item) if isinstance(item, str) else item
            _apply(data, override)
            applied.append(override)
        except Problems as error:
            problems += error.problems
    return applied, problems


def locate_problem(key: Key, message: str, file: YamlFile, overrides: Sequence[Override]) -> Problem:
    """A problem with a key, located at the override that caused it, else at its line in the file."""
    for override in reversed(overrides):
        parent_is_new = key[:-1] not in file.places and len(key) > 1 and override.key[: len(key) - 1] == key[:-1]
        if key[: len(override.key)] == override.key or (key not in file.places and parent_is_new):
            return override.problem(key, message)
    return file.problem(key, message)


def parse_override(text: str) -> Override:
    """Parse `a.b=value`; the value is YAML.

    Raises:
        Problems: the text does not have this form.
    """
    source = f"--set {text}"
    name, equals, value = text.partition("=")
    parts = [part.strip() for part in name.split(".")]
    if not equals or not all(parts):
        raise Problems([Problem(source, 0, 0, "", "should be KEY=VALUE, for example --set lora.r=32")])
    return Override(source, tuple(int(part) if _is_index(part) else part for part in parts), parse_value(value, source))


def _is_index(part: str) -> bool:
    return part.isascii() and part.isdecimal() and len(part) < 6


def _apply(data: dict[str, Any], override: Override) -> None:
    """Set the key; missing parents are created, and short forms expanded.

    Raises:
        Problems: a parent of the key is neither a mapping nor a list with such an item.
    """
    parent: Any = data
    part: Any
    for depth, part in enumerate(override.key[:-1], start=1):
        _check_parent(parent, override, depth)
        child = parent.get(part) if isinstance(parent, dict) else parent[part]
        parent[part] = _expand_short_form(child, override.key[:depth])
        parent = parent[part]
    _check_parent(parent, override, len(override.key))
    parent[override.key[-1]] = override.value


def _expand_short_form(value: Any, key: Key) -> Any:
    """The mapping that a short form such as `replay: self`, `- fin_fomc` or `validation: off` stands for."""
    if value is None or value is False or value == "off":
        return {}
    if isinstance(value, str) and key[0] in SHORT_FOR and all(isinstance(part, int) for part in key[1:]):
        return {SHORT_FOR[str(key[0])]: value}
    return value


def _check_parent(parent: Any, override: Override, depth: int) -> None:
    path, part = dotted(override.key[: depth - 1]), override.key[depth - 1]
    if isinstance(parent, list) and isinstance(part, int) and part < len(parent):
        return
    if isinstance(parent, dict) and isinstance(part, str):
        return
    if isinstance(parent, list):
        message = f"{path} is a list of {len(parent)}, counted from 0"
    else:
        message = f"{path or 'the file'} has no key {part}"
    raise Problems([override.problem(override.key, f"{message}: use a key of the file")])
