"""Reads a training file: everything that is wrong with it in one go, each with its line, before anything is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fin_plugins.common.bundled import TRAINING_CONFIGS, config_name
from fin_plugins.common.validation import validate
from fin_plugins.common.yaml_file import Problems, dotted, read_yaml
from fin_plugins.training.config import TrainConfig
from fin_plugins.training.files import overrides as changing
from fin_plugins.training.files.checks import Depth, check_names, check_tasks
from fin_plugins.training.files.overrides import Override

_PLACEHOLDERS = {"model": "demo", "tasks": ["fin_fomc"]}


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


def read_config(
    name_or_path: str, settings: Sequence[str] = (), flags: Sequence[Override] = (), depth: Depth = "names"
) -> Configured:
    """Read a training file.

    Args:
        name_or_path: a file, or the name of a shipped one.
        settings: changes as typed behind `--set`, `a.b=value`; a later one wins.
        flags: changes by other flags; they win over settings.
        depth: how far its tasks are looked at.

    Raises:
        FinError: there is no such file, or it cannot be read.
        Problems: all that is wrong with it and with the settings.
    """
    source = TRAINING_CONFIGS.find(name_or_path)
    file = read_yaml(source)
    changes, wrong = changing.change(file.data, [*settings, *flags])
    problems = [*file.problems, *wrong]
    config, findings = validate(TrainConfig, file.data, _PLACEHOLDERS)
    for key, message in [*findings, *check_names(file.data), *check_tasks(file.data, depth)]:
        # A value that could not be read is None here: that much has been said.
        if not any(f"{dotted(key)}.".startswith(f"{problem.key}.") for problem in file.problems if problem.key):
            problems.append(changing.placed(key, message, file, changes))
    if problems or config is None:
        raise Problems(problems)
    return Configured(config, config_name(source), source)
