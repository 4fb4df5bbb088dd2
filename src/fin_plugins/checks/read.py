"""Reads a task, group or training file as lm-eval would, with the place of every key, also where it is included."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from fin_plugins.checks.model import Finding, Kind, Spot, TaskFile
from fin_plugins.common.foreign_files import UnreadableFile, open_file
from fin_plugins.common.yaml_file import MAX_BYTES, Problem, Problems, YamlFile, parse_yaml
from fin_plugins.common.yaml_nodes import Key
from fin_plugins.compat.lm_eval.schema import task_keys
from fin_plugins.training.config import TrainConfig

_INCLUDE = "include"
_CODES = {
    "syntax": "Y01",
    "encoding": "Y02",
    "size": "Y03",
    "whole": "Y04",
    "twice": "Y05",
    "tag": "Y06",
    "value": "Y07",
    "key": "Y08",
}


class Read(NamedTuple):
    """What came of reading a file."""

    file: TaskFile | None
    """None where it could not be read, or is of no kind that is known."""
    findings: list[Finding]
    """What is wrong with its YAML and its includes; there may be some although it could be read."""


def read_task_file(path: Path, name: str) -> Read:
    """Read a file with what it includes.

    Args:
        path: the file.
        name: as the user named it, from the working directory.
    """
    reader = _Reader()
    layer = reader.layer(path, name)
    if layer is None:
        return Read(None, reader.found)
    kind = _kind(layer.data)
    if kind is None:
        unclear = "neither a task (`task: name`), a group (`group: name`) nor a training file (`model:` and `tasks:`)"
        return Read(None, [*reader.found, Finding(name, 1, 1, "", "K04", unclear)])
    stated = tuple(dict.fromkeys(reader.included))
    return Read(TaskFile(path, name, kind, layer.data, layer.spots, layer.own, stated), reader.found)


def may_be_meant(path: Path) -> bool:
    """Whether a file that nobody named may be a task, group or training file, from its keys; a broken one counts, too.

    At least half of them are known: experiments and searches have few such keys.
    """
    try:
        data = _parsed(_content(path), str(path)).data
    except (UnreadableFile, Problems):
        return True
    return 2 * len(_known_keys() & set(data)) >= len(data)


def _known_keys() -> set[str]:
    return {*task_keys(), *TrainConfig.model_fields, "group", _INCLUDE}


def _kind(data: dict[str, Any]) -> Kind | None:
    """As lm-eval tells tasks from groups: a Python task is one whatever else it says, and a group wins over a task.

    At least half of a training file's keys are some that such a file may have: experiments and searches have few.
    """
    if "class" in data:
        return "task"
    if "group" in data:
        return "group"
    if "task" in data:
        return "task"
    training = set(data) & set(TrainConfig.model_fields)
    most = max(len(set(data) & task_keys()) + 1, len(data) / 2)
    return "training" if len(training) >= most else None


def real_path(path: Path) -> Path:
    """The absolute path with links followed; of a link that leads to itself, the link.

    Raises:
        ValueError: the name has a NUL in it.
    """
    return Path(os.path.realpath(path))


def _content(path: Path) -> bytes:
    """One byte more than is allowed tells that a file is too large.

    Raises:
        UnreadableFile: it cannot be read, or is no regular file.
    """
    with open_file(path) as opened:
        try:
            return opened.read(MAX_BYTES + 1)
        except OSError as error:
            raise UnreadableFile(path, f"cannot be read ({error.strerror})") from error


@lru_cache(maxsize=1024)
def _parsed(content: bytes, name: str) -> YamlFile:
    """What many files include is parsed once."""
    return parse_yaml(content, name, functions=True)


@dataclass
class _Layer:
    """A file with its includes applied."""

    data: dict[str, Any] = field(default_factory=dict)
    spots: dict[Key, Spot] = field(default_factory=dict)
    own: frozenset[str] = frozenset()

    def put(self, data: dict[str, Any], spots: dict[Key, Spot]) -> None:
        """Later keys win, whole: lm-eval merges nothing below the first level."""
        kept = {key: spot for key, spot in self.spots.items() if key[0] not in data}
        self.spots = kept | {key: spot for key, spot in spots.items() if key[0] in data}
        self.data = self.data | data


class _Reader:
    """Reads one file and its includes; lm-eval takes a file that is included twice for a cycle, and so does this."""

    def __init__(self) -> None:
        self.found: list[Finding] = []
        self.included: list[Path] = []
        self._met: list[Path] = []

    def layer(self, path: Path, name: str) -> _Layer | None:
        self._met.append(real_path(path))
        try:
            read = _parsed(_content(path), name)
        except UnreadableFile as error:
            self.found.append(Finding(name, 1, 1, "", "Y09", error.reason))
            return None
        except Problems as error:
            self.found += map(_finding, error.problems)
            return None
        self.found += map(_finding, read.problems)
        spots = {key: Spot(name, *place) for key, place in read.places.items()}
        layer = _Layer(own=frozenset(read.data) - {_INCLUDE})
        for key, include in _includes(read.data):
            spot = spots.get(key, spots[(_INCLUDE,)])
            if below := self._include(include, path, name, spot, key):
                layer.put(below.data, below.spots)
        layer.put({key: value for key, value in read.data.items() if key != _INCLUDE}, spots)
        return layer

    def _include(self, include: Any, path: Path, name: str, spot: Spot, key: Key) -> _Layer | None:
        problem = self._cannot_include(include, path)
        if problem:
            self.found.append(Finding(*spot, ".".join(map(str, key)), *problem))
            return None
        if Path(include).is_absolute():
            message = f"{include}: an absolute path is right on one machine only: name the file from this one's folder"
            self.found.append(Finding(*spot, ".".join(map(str, key)), "F03", message))
        target = path.parent / include
        self.included.append(real_path(target))
        below = self.layer(target, os.path.normpath(Path(name).parent / include))
        if below:
            below.data.pop("task_list", None)  # as lm-eval does
        return below

    def _cannot_include(self, include: Any, path: Path) -> tuple[str, str] | None:
        if not isinstance(include, str) or not include:
            return "K02", "should be a file's name, or a list of such"
        try:
            target = path.parent / include
            if real_path(target) in self._met:
                return "F02", f"{include}: includes itself, or is included twice: lm-eval takes both for a cycle"
            there = target.is_file()
        except (OSError, ValueError):
            there = False
        return None if there else ("F01", f"{include}: no such file in {path.parent or '.'}")


def _includes(data: dict[str, Any]) -> Iterator[tuple[Key, Any]]:
    if isinstance(data.get(_INCLUDE), list):
        yield from (((_INCLUDE, number), include) for number, include in enumerate(data[_INCLUDE]))
    elif _INCLUDE in data:
        yield (_INCLUDE,), data[_INCLUDE]


def _finding(problem: Problem) -> Finding:
    code = _CODES[problem.what or "value"]
    return Finding(problem.file, problem.line, problem.column, problem.key, code, problem.message)
