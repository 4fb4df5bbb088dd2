"""Reads an experiment file and reports all its problems together, each with its line, before anything runs."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

from fin_plugins.common.bundled import EXPERIMENTS, config_name, is_file, is_folder
from fin_plugins.common.validation import Finding, validate_partial
from fin_plugins.common.yaml_file import Problems, dotted, read_yaml
from fin_plugins.common.yaml_nodes import Key
from fin_plugins.experiments.experiment_checks import check_names, check_tasks
from fin_plugins.experiments.experiment_config import Experiment, Model, Training
from fin_plugins.experiments.expert_checks import check_merges, check_trainings, read_training
from fin_plugins.training.config_checks import check_names as check_training_names
from fin_plugins.training.config_loading import apply_overrides, locate_problem
from fin_plugins.training.train_config import TrainConfig

_PLACEHOLDERS = {"models": {"demo": "demo"}, "tasks": {"seen": ["fin_fomc"]}}
_SHORT_FOR = {"models": "model", "training": "file"}
"""Sections whose entries may be bare text, and the key that the text is short for."""

_PATH_SUFFIXES = (".yaml", ".yml", ".json", ".jsonl")
# `*` matches any name or list item.
_TRAINING_PATHS: tuple[Key, ...] = (
    ("tasks", "*"),
    ("tasks", "*", "task"),
    ("replay",),
    ("replay", "source"),
    ("replay", "instructions"),
    ("replay.source",),
    ("replay.instructions",),
)
_EXPERIMENT_PATHS: tuple[Key, ...] = (
    ("models", "*", "model"),
    ("tasks", "seen", "*"),
    ("tasks", "unseen", "*"),
    ("training", "*", "file"),
    ("merges", "*", "recipe"),
    ("merges", "*", "search", "unlabelled"),
    ("merges", "*", "search", "unlabelled", "instructions"),
    *(("training", "*", "set", *key) for key in _TRAINING_PATHS),
    *(("models", "*", "settings", *key) for key in _TRAINING_PATHS),
)


@dataclass(frozen=True)
class ExperimentFile:
    """A valid experiment file.

    Attributes:
        config: its content with the command line's changes; all paths are absolute.
        name: the file's name without its suffix.
        source: the file.
    """

    config: Experiment
    name: str
    source: Path

    @property
    def output(self) -> Path:
        """Output folder."""
        return Path(self.config.output or Path("results") / "run" / self.name)


def read_experiment(name_or_path: str, settings: Sequence[str] = ()) -> ExperimentFile:
    """Read an experiment file.

    Paths in the file are relative to the file; paths in `settings` and in training files are relative to the working
    directory, as for `fin train`.

    Args:
        name_or_path: a file, or the name of a bundled experiment.
        settings: changes as typed after `--set`, `a.b=value`; the last one wins.

    Raises:
        FinError: the file does not exist or cannot be read.
        Problems: all problems of the file, of the settings and of the files that it names.
    """
    source = EXPERIMENTS.find(name_or_path)
    file = read_yaml(source)
    _expand_short_forms(file.data)
    _make_absolute(file.data, source.parent, _EXPERIMENT_PATHS)
    changes, problems = apply_overrides(file.data, settings)
    _expand_short_forms(file.data)
    _make_absolute(file.data, Path(), _EXPERIMENT_PATHS)
    problems += file.problems
    config, findings = validate_partial(Experiment, file.data, _PLACEHOLDERS)
    unreadable = [problem.key for problem in file.problems if problem.key]
    for key, message in [*findings, *_semantic_findings(config, file.data, {key for key, _ in findings})]:
        # An unreadable value is None here; its problem has been reported already.
        if not any(f"{dotted(key)}.".startswith(f"{parent}.") for parent in unreadable):
            problems.append(locate_problem(key, message, file, changes))
    if problems or config is None:
        raise Problems(problems)
    trainings = {name: _with_absolute_paths(training) for name, training in config.training.items()}
    return ExperimentFile(config.model_copy(update={"training": trainings}), config_name(source), source)


def _expand_short_forms(data: dict[str, Any]) -> None:
    """Replace bare text by the mapping it is short for, so that a single key of it can be changed."""
    for section, key in _SHORT_FOR.items():
        entries = data.get(section)
        if isinstance(entries, dict):
            entries |= {name: {key: value} for name, value in entries.items() if isinstance(value, str)}


def _semantic_findings(config: Experiment | None, data: dict[str, Any], invalid: Collection[Key]) -> Iterator[Finding]:
    """Problems of values that have the right form.

    Args:
        config: the valid part of the file.
        data: the entire file.
        invalid: keys that are not in `config`.
    """
    if config is None:
        return
    trainings = check_trainings(config)
    findings = [*check_training_names({"output": config.output}), *check_names(config, data), *check_tasks(config)]
    for key, message in [*findings, *trainings.findings, *check_merges(config, trainings.tasks)]:
        yield _key_in_file(key, invalid), message


def _key_in_file(key: Key, invalid: Collection[Key]) -> Key:
    """The key with list indices as in the file, where invalid items count too."""
    file_key: Key = ()
    for part in key:
        if isinstance(part, int):
            valid_indices = (index for index in count() if (*file_key, index) not in invalid)
            part = next(islice(valid_indices, part, None))
        file_key = (*file_key, part)
    return file_key


def _with_absolute_paths(training: Training) -> Training:
    """The training with the relative paths of its training file set to absolute ones."""
    config = read_training(training, Model(model="demo"))
    return training.model_copy(update={"set": {**training.set, **_absolute_training_paths(config)}})


def _absolute_training_paths(config: TrainConfig) -> dict[str, Any]:
    """The keys of a training file that hold relative paths, with these made absolute."""
    before = config.model_dump(mode="json", exclude_unset=True, include={"tasks", "replay"})
    after = config.model_dump(mode="json", exclude_unset=True, include={"tasks", "replay"})
    _make_absolute(after, Path(), _TRAINING_PATHS)
    return {key: value for key, value in after.items() if value != before[key]}


def _make_absolute(data: Any, folder: Path, patterns: Iterable[Key]) -> None:
    """Make every path in the data absolute, in place: steps run in the output folder.

    Names of bundled files and hub names stay: a path begins with `.`, `/` or `~`, has a file's suffix, or contains a
    `/` and exists.

    Args:
        data: content of a file, in any form.
        folder: base of relative paths.
        patterns: keys that may hold paths.
    """
    for pattern in patterns:
        for parent, key in _matches(data, pattern):
            if isinstance(parent[key], str) and _is_path(parent[key], folder):
                parent[key] = _absolute(parent[key], folder)


def _matches(data: Any, pattern: Key) -> Iterator[tuple[Any, Any]]:
    """Parent and key of every value that matches the pattern."""
    is_indexed = isinstance(data, list) and pattern[0] == "*"
    keys = range(len(data)) if is_indexed else list(data) if isinstance(data, dict) else ()
    for key in keys:
        if pattern[0] in ("*", key):
            yield from _matches(data[key], pattern[1:]) if pattern[1:] else [(data, key)]


def _is_path(text: str, folder: Path) -> bool:
    exists = "/" in text and (is_file(str(folder / text)) or is_folder(str(folder / text)))
    return text.startswith((".", "/", "~")) or text.endswith(_PATH_SUFFIXES) or exists


def _absolute(text: str, folder: Path) -> str:
    try:
        return str((folder / Path(text).expanduser()).absolute())
    except RuntimeError:  # `~nobody/`: no such user
        return text
