"""Keys of other files that an experiment changes, as `fin train` and `fin merge` take them behind `--set`."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from fin_plugins.common.validation import Finding
from fin_plugins.common.yaml_file import Problem
from fin_plugins.common.yaml_nodes import Key
from fin_plugins.experiments.config import Model, Training


def as_settings(values: Mapping[str, Any]) -> list[str]:
    """`KEY=VALUE` for each key; a value is JSON, which is YAML."""
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]


def training_settings(training: Training, model: Model) -> list[str]:
    """The changes of a training file for one model; the model's come last and win."""
    return as_settings({**training.set, **model.settings})


def places(values: Mapping[str, Any], above: Key, flag: str = "--set") -> dict[str, Key]:
    """Where in the experiment file a change stands, by what messages call the change."""
    return {f"{flag} {text}": (*above, key) for text, key in zip(as_settings(values), values, strict=True)}


def findings(problems: tuple[Problem, ...], known: Mapping[str, Key], file: Key) -> Iterator[Finding]:
    """Another file's problems at the experiment's own keys: at the change that made it, else where it is named.

    Args:
        problems: as the other file's reader raised them.
        known: places of the changes.
        file: where the experiment names the file.
    """
    for problem in problems:
        if problem.file in known:
            yield known[problem.file], f"{problem.key}: {problem.message}" if problem.key else problem.message
        else:
            yield file, str(problem)
