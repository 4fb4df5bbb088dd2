"""Reads YAML that people wrote: plain data, the place of every key, and every problem with its line at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fin_plugins.common.errors import FinError
from fin_plugins.common.foreign_files import UnreadableFile, open_file
from fin_plugins.common.yaml_nodes import Key, Loader, Place, TooLarge, What, YamlNode, read_node

MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Problem:
    """One thing to mend.

    Attributes:
        file: as the user named it, or what else the problem stands in, such as `--set lora.r=0`.
        line: counted from 1; 0 where `file` is no file.
        column: counted from 1.
        key: dotted path of the key, as in `tasks.1.cap`; empty for the whole.
        message: what is wrong, and what would be right.
        what: what it is about, where it is about the YAML itself.
    """

    file: str
    line: int
    column: int
    key: str
    message: str
    what: What | None = field(default=None, compare=False)

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        line = f"{place} {self.key}: {self.message}" if self.key else f"{place}: {self.message}"
        return " ".join(line.split())  # keys and values quoted here may have line breaks in them


class Problems(FinError):
    """All problems at once; the message has one a line, under their number where there is more than one."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        """Take the problems, in any order; the same one twice is kept once."""
        self.problems = tuple(sorted(set(problems), key=lambda it: (it.line, it.column, it.key, it.file, it.message)))
        lines = [str(problem) for problem in self.problems]
        super().__init__(lines[0] if len(lines) == 1 else "\n".join([f"{len(lines)} problems", *lines]))


@dataclass(frozen=True)
class YamlFile:
    """What a file says.

    Attributes:
        name: the file as the user named it.
        data: plain dictionaries, lists, text, numbers, booleans and None; of a key given twice, the second value.
        places: line and column of every key and list item, by its path.
        problems: what is wrong although the file could be read; a value that is no plain one is None in `data`.
    """

    name: str
    data: dict[str, Any]
    places: dict[Key, Place]
    problems: tuple[Problem, ...]

    def problem(self, key: Key, message: str) -> Problem:
        """A problem with a key, at its place; a key that is not there is placed where its parent stands."""
        parents = (key[:end] for end in range(len(key), 0, -1))
        place = next((self.places[parent] for parent in parents if parent in self.places), (1, 1))
        return Problem(self.name, *place, dotted(key), message)


def dotted(key: Sequence[str | int]) -> str:
    """A path as people write it: `tasks.1.cap`."""
    return ".".join(map(str, key))


def read_yaml(path: Path) -> YamlFile:
    """Read a file whose whole is a mapping.

    Raises:
        UnreadableFile: there is no such file, or it cannot be read.
        Problems: it is no YAML, no mapping, not UTF-8, too large or nested too deeply.
    """
    with open_file(path) as file:
        try:
            content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise UnreadableFile(path, f"cannot be read ({error.strerror})") from error
    return parse_yaml(content, str(path))


def parse_yaml(content: bytes, name: str, functions: bool = False) -> YamlFile:
    """The same for a file's content.

    Args:
        content: of the file.
        name: the file as the user named it.
        functions: whether lm-eval's tag `!function` is allowed; its values are then of the class `Function`.

    Raises:
        Problems: it is no YAML, no mapping, not UTF-8, too large or nested too deeply.
    """
    read = _read(content, name, functions)
    if not isinstance(read.value, dict):
        no_mapping = Problem(name, 1, 1, "", "must be a mapping, a `key: value` a line", "whole")
        raise Problems(_problems(read, name) or [no_mapping])
    return YamlFile(name, read.value, read.places, _problems(read, name))


def parse_value(text: str, name: str) -> Any:
    """The plain value of a piece of YAML, as behind `--set key=`.

    Raises:
        Problems: it is no YAML, or has a problem anywhere; `name` alone is their place.
    """
    try:
        read = _read(text.encode("utf-8", "surrogatepass"), name)
        problems = _problems(read, name)
    except Problems as error:
        problems = error.problems
    if problems:
        raise Problems(Problem(name, 0, 0, problem.key, problem.message) for problem in problems)
    return read.value


def _problems(read: YamlNode, name: str) -> tuple[Problem, ...]:
    return tuple(Problem(name, *error.place, dotted(error.key), error.message, error.what) for error in read.errors)


def _read(content: bytes, name: str, functions: bool = False) -> YamlNode:
    text = _decoded(content, name)
    try:
        node = yaml.compose(text, Loader=Loader)
        return YamlNode() if node is None else read_node(node, functions)
    except TooLarge as error:
        raise Problems([_marked(error, name, "size")]) from error
    except yaml.MarkedYAMLError as error:
        raise Problems([_marked(error, name, "syntax")]) from error
    except yaml.reader.ReaderError as error:
        message = f"the character U+{ord(text[error.position]):04X} cannot stand in YAML"
        raise Problems([Problem(name, *_counted(text[: error.position]), "", message, "encoding")]) from error
    except (ValueError, OverflowError) as error:  # PyYAML lets chr's error for the escape "\UFFFFFFFF" through
        raise Problems([Problem(name, 1, 1, "", f"no YAML ({error})", "syntax")]) from error


def _decoded(content: bytes, name: str) -> str:
    if len(content) > MAX_BYTES:
        message = f"larger than {MAX_BYTES >> 20} MiB: hardly a file that somebody wrote"
        raise Problems([Problem(name, 1, 1, "", message, "size")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _counted(content[: error.start].decode("utf-8", "replace"))
        raise Problems([Problem(name, *place, "", "not UTF-8: save the file as UTF-8", "encoding")]) from error


def _counted(before: str) -> Place:
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _marked(error: yaml.MarkedYAMLError, name: str, what: What) -> Problem:
    """PyYAML's error at its place; what it was in the middle of says more than what it met there."""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    message = ", ".join(part for part in (error.context, error.problem) if part)
    return Problem(name, line, column, "", message or "no YAML", what)
