"""Task, group and training files as lm-eval reads them, with the location of every key, also in included files."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from fin_plugins.checks.findings import Finding
from fin_plugins.common.foreign_files import UnreadableFile, get_in, open_file
from fin_plugins.common.yaml_file import MAX_BYTES, Problems, YamlFile, dotted, parse_yaml
from fin_plugins.common.yaml_nodes import Function, Key
from fin_plugins.compat.lm_eval.schema import task_keys
from fin_plugins.training.train_config import TrainConfig

FileKind = Literal["task", "group", "training"]

CUSTOM_ROWS_LOADER = "fin_plugins.tasks.own.load"
BUNDLED_ROWS_LOADER = "fin_plugins.tasks.rows.load"
GENERATIVE_SUFFIX = "_gen"
"""Ends the name of a generative variant."""

_INCLUDE = "include"


class Location(NamedTuple):
    """The location of a key; with includes this may be another file."""

    file: str
    line: int
    column: int


@dataclass(frozen=True)
class TaskFile:
    """A file with its includes applied.

    Attributes:
        path: path of the file.
        name: the file as the user named it.
        kind: what the file defines.
        data: the merged mapping, as lm-eval sees it (later keys win, no deep merge); a value tagged `!function` is a
            `Function`.
        locations: location of each key of `data`, by path.
        includes: all included files, in reading order.
    """

    path: Path
    name: str
    kind: FileKind
    data: dict[str, Any]
    locations: dict[Key, Location]
    includes: tuple[Path, ...] = ()

    @property
    def is_fin_task(self) -> bool:
        """Whether the rules for fin tasks apply: its rows come from a fin loader, or it has `metadata.fin`."""
        loader, metadata = self.data.get("custom_dataset"), self.data.get("metadata")
        if isinstance(loader, Function) and loader.startswith("fin_plugins."):
            return True
        return isinstance(metadata, dict) and "fin" in metadata

    @property
    def task_name(self) -> str | None:
        """The name of the task or group; None for a training file."""
        name = self.data.get("group" if self.kind == "group" else "task")
        return name if self.kind != "training" and isinstance(name, str) else None

    @property
    def dataset_kwargs(self) -> dict[str, Any]:
        """The mapping under `dataset_kwargs`; empty if there is none."""
        return _as_mapping(self.data.get("dataset_kwargs"))

    @property
    def card(self) -> dict[str, Any]:
        """The mapping under `metadata.fin`; empty if there is none."""
        return _as_mapping(get_in(self.data, "metadata", "fin"))

    @property
    def tags(self) -> list[Any]:
        """The tags of a task."""
        tags = self.data.get("tag")
        return tags if isinstance(tags, list) else [tags] if isinstance(tags, str) else []

    def finding(self, code: str, key: Key, message: str) -> Finding:
        """A finding about a key; a missing key is located at its nearest parent."""
        return Finding(*self.locate(key), dotted(key), code, message)

    def locate(self, key: Key) -> Location:
        """The location of a key, or of its nearest parent that exists."""
        parents = (key[:end] for end in range(len(key), 0, -1))
        return next(
            (self.locations[parent] for parent in parents if parent in self.locations), Location(self.name, 1, 1)
        )


class LoadedFile(NamedTuple):
    """The result of reading a file."""

    file: TaskFile | None
    """None if the file is unreadable or of no known kind."""
    findings: list[Finding]
    """Problems with the YAML and the includes; there may be some even if `file` is set."""


def load_task_file(path: Path, name: str) -> LoadedFile:
    """Read a file and its includes.

    Args:
        path: path of the file.
        name: the file as the user named it, relative to the working directory.
    """
    reader = _IncludeReader()
    layer = reader.read(path, name)
    if layer is None:
        return LoadedFile(None, reader.findings)
    kind = _kind(layer.data)
    if kind is None:
        message = "neither a task (`task: name`), a group (`group: name`) nor a training file (`model:` and `tasks:`)"
        return LoadedFile(None, [*reader.findings, Finding(name, 1, 1, "", "K04", message)])
    includes = tuple(dict.fromkeys(reader.included))
    return LoadedFile(TaskFile(path, name, kind, layer.data, layer.locations, includes), reader.findings)


def is_plausible(path: Path) -> bool:
    """Whether a file found in a folder may be a task, group or training file; a broken file counts as plausible.

    At least half of its keys must be known, which rules out experiments and searches.
    """
    try:
        data = _parse(_read(path), str(path)).data
    except (UnreadableFile, Problems):
        return True
    known = {*task_keys(), *TrainConfig.model_fields, "group", _INCLUDE}
    return 2 * len(known & set(data)) >= len(data)


def real_path(path: Path) -> Path:
    """The absolute path with links resolved; a link to itself stays as it is.

    Raises:
        ValueError: the name contains a NUL.
    """
    return Path(os.path.realpath(path))


def _as_mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _kind(data: dict[str, Any]) -> FileKind | None:
    """Tell tasks from groups as lm-eval does: `class` makes a Python task, and a group wins over a task.

    At least half of a training file's keys must be training keys, which rules out experiments and searches.
    """
    if "class" in data:
        return "task"
    if "group" in data:
        return "group"
    if "task" in data:
        return "task"
    training_keys = set(data) & set(TrainConfig.model_fields)
    threshold = max(len(set(data) & task_keys()) + 1, len(data) / 2)
    return "training" if len(training_keys) >= threshold else None


def _read(path: Path) -> bytes:
    """The content, up to one byte more than allowed, which shows that a file is too large.

    Raises:
        UnreadableFile: the file cannot be read or is not a regular file.
    """
    with open_file(path) as opened:
        try:
            return opened.read(MAX_BYTES + 1)
        except OSError as error:
            raise UnreadableFile(path, f"cannot be read ({error.strerror})") from error


@lru_cache(maxsize=1024)
def _parse(content: bytes, name: str) -> YamlFile:
    """Parse a file, once even if many others include it."""
    return parse_yaml(content, name, functions=True)


@dataclass
class _Layer:
    """A mapping with its includes applied."""

    data: dict[str, Any] = field(default_factory=dict)
    locations: dict[Key, Location] = field(default_factory=dict)

    def update(self, data: dict[str, Any], locations: dict[Key, Location]) -> None:
        """Overwrite top-level keys; lm-eval merges nothing below the first level."""
        unchanged = {key: location for key, location in self.locations.items() if key[0] not in data}
        self.locations = unchanged | {key: location for key, location in locations.items() if key[0] in data}
        self.data = self.data | data


class _IncludeReader:
    """Reads one file and its includes; like lm-eval it takes a file that is included twice for a cycle."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.included: list[Path] = []
        self._visited: list[Path] = []

    def read(self, path: Path, name: str) -> _Layer | None:
        self._visited.append(real_path(path))
        try:
            file = _parse(_read(path), name)
        except UnreadableFile as error:
            self.findings.append(Finding(name, 1, 1, "", "Y09", error.reason))
            return None
        except Problems as error:
            self.findings += map(Finding.from_yaml_problem, error.problems)
            return None
        self.findings += map(Finding.from_yaml_problem, file.problems)
        locations = {key: Location(name, *place) for key, place in file.places.items()}
        layer = _Layer()
        for key, include in _includes(file.data):
            location = locations.get(key, locations[(_INCLUDE,)])
            if base := self._include(include, path, name, location, key):
                layer.update(base.data, base.locations)
        layer.update({key: value for key, value in file.data.items() if key != _INCLUDE}, locations)
        return layer

    def _include(self, include: Any, path: Path, name: str, location: Location, key: Key) -> _Layer | None:
        problem = self._include_problem(include, path)
        if problem:
            self.findings.append(Finding(*location, dotted(key), *problem))
            return None
        if Path(include).is_absolute():
            message = f"{include}: an absolute path works on one machine only; use a path relative to this file"
            self.findings.append(Finding(*location, dotted(key), "F03", message))
        target = path.parent / include
        self.included.append(real_path(target))
        base = self.read(target, os.path.normpath(Path(name).parent / include))
        if base:
            base.data.pop("task_list", None)  # as lm-eval does
        return base

    def _include_problem(self, include: Any, path: Path) -> tuple[str, str] | None:
        """Code and message of the reason why a file cannot be included."""
        if not isinstance(include, str) or not include:
            return "K02", "should be a file name, or a list of file names"
        try:
            target = path.parent / include
            if real_path(target) in self._visited:
                return "F02", f"{include}: includes itself or is included twice; lm-eval takes both for a cycle"
            exists = target.is_file()
        except (OSError, ValueError):
            exists = False
        return None if exists else ("F01", f"{include}: no such file in {path.parent or '.'}")


def _includes(data: dict[str, Any]) -> Iterator[tuple[Key, Any]]:
    if isinstance(data.get(_INCLUDE), list):
        yield from (((_INCLUDE, number), include) for number, include in enumerate(data[_INCLUDE]))
    elif _INCLUDE in data:
        yield (_INCLUDE,), data[_INCLUDE]
