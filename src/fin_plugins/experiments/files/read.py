"""Reads an experiment file: everything that is wrong with it in one go, each with its line, before anything is run."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

from fin_plugins.common.bundled import EXPERIMENTS, config_name
from fin_plugins.common.validation import Finding, validate_partial
from fin_plugins.common.yaml_file import Problems, dotted, read_yaml
from fin_plugins.common.yaml_nodes import Key
from fin_plugins.experiments.config import Experiment, Model, Training
from fin_plugins.experiments.files import paths
from fin_plugins.experiments.files.merges import check_merges
from fin_plugins.experiments.files.names import check_own_names
from fin_plugins.experiments.files.tasks import check_tasks
from fin_plugins.experiments.files.trainings import check_trainings, read_training
from fin_plugins.training.files import overrides
from fin_plugins.training.files.checks import check_names

_PLACEHOLDERS = {"models": {"demo": "demo"}, "tasks": {"seen": ["fin_fomc"]}}
_SHORT_FOR = {"models": "model", "training": "file"}
"""The key that a bare text stands for, below a name."""


@dataclass(frozen=True)
class Configured:
    """An experiment file, read.

    Attributes:
        config: what it says, changes made; paths in it are absolute.
        name: of the file, without its ending.
        source: the file.
    """

    config: Experiment
    name: str
    source: Path

    @property
    def output(self) -> Path:
        """Folder of all that is made."""
        return Path(self.config.output or Path("results") / "run" / self.name)


def read_experiment(name_or_path: str, settings: Sequence[str] = ()) -> Configured:
    """Read an experiment file.

    Paths in the file are relative to it, paths behind `--set` to the working folder; in training files they are what
    they are for `fin train`, relative to the working folder.

    Args:
        name_or_path: a file, or the name of a shipped one.
        settings: changes as typed behind `--set`, `a.b=value`; a later one wins.

    Raises:
        FinError: there is no such file, or it cannot be read.
        Problems: all that is wrong with it, with the settings, and with the files that it names.
    """
    source = EXPERIMENTS.find(name_or_path)
    file = read_yaml(source)
    _write_out(file.data)
    paths.make_absolute(file.data, source.parent)
    changes, problems = overrides.change(file.data, settings)
    _write_out(file.data)
    paths.make_absolute(file.data, Path())
    problems += file.problems
    config, findings = validate_partial(Experiment, file.data, _PLACEHOLDERS)
    unread = [problem.key for problem in file.problems if problem.key]
    for key, message in [*findings, *_beyond_form(config, file.data, {key for key, _ in findings})]:
        # A value that could not be read is None here: that much has been said.
        if not any(f"{dotted(key)}.".startswith(f"{other}.") for other in unread):
            problems.append(overrides.placed(key, message, file, changes))
    if problems or config is None:
        raise Problems(problems)
    return Configured(_with_absolute_paths(config), config_name(source), source)


def _write_out(data: dict[str, Any]) -> None:
    """Put a mapping where the file has a bare text for one, so that a single key of it can be changed."""
    for level, key in _SHORT_FOR.items():
        named = data.get(level)
        if isinstance(named, dict):
            named |= {name: {key: value} for name, value in named.items() if isinstance(value, str)}


def _beyond_form(config: Experiment | None, data: dict[str, Any], wrong: Collection[Key]) -> Iterator[Finding]:
    """What is wrong although each key has the right form.

    Args:
        config: what can be read.
        data: the file's.
        wrong: the keys that were left out of it.
    """
    if config is None:
        return
    trainings = check_trainings(config)
    output = check_names({"output": config.output})
    found = [*output, *check_own_names(config, data), *check_tasks(config), *trainings.findings]
    for key, message in [*found, *check_merges(config, trainings.tasks)]:
        yield _in_file(key, wrong), message


def _in_file(key: Key, wrong: Collection[Key]) -> Key:
    """The key as the file has it: items of lists are counted without those left out."""
    found: Key = ()
    for part in key:
        if isinstance(part, int):
            kept = (number for number in count() if (*found, number) not in wrong)
            part = next(islice(kept, part, None))
        found = (*found, part)
    return found


def _with_absolute_paths(config: Experiment) -> Experiment:
    trainings = {name: _training(one) for name, one in config.training.items()}
    return config.model_copy(update={"training": trainings})


def _training(training: Training) -> Training:
    read = read_training(training, Model(model="demo"))
    return training.model_copy(update={"set": {**training.set, **paths.of_training_file(read)}})
