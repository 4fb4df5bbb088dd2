"""User-written YAML as plain data, with the position of every key and all problems at once.

PyYAML reads it, because lm-eval and mergekit read the same files with PyYAML: another parser would resolve scalars such
as `yes` or `012` differently. What PyYAML's loader lacks is in `yaml_nodes`.
"""

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
    """One problem in a file, with its position.

    Attributes:
        file: path as the user gave it, or another source such as `--set lora.r=0`.
        line: counted from 1; 0 if `file` is not a file.
        column: counted from 1.
        key: dotted path of the key, for example `tasks.1.cap`; empty for the whole file.
        message: what is wrong and what would be right.
        what: kind of problem, if it is about the YAML itself.
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
        return " ".join(line.split())  # quoted keys and values may contain line breaks


class Problems(FinError):
    """All problems of a file. The message has one per line, after their number if there are several."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        """Sort the problems by position and drop duplicates."""
        self.problems = tuple(sorted(set(problems), key=_position))
        lines = [str(problem) for problem in self.problems]
        super().__init__(lines[0] if len(lines) == 1 else "\n".join([f"{len(lines)} problems", *lines]))


def _position(problem: Problem) -> tuple[int, int, str, str, str]:
    return problem.line, problem.column, problem.key, problem.file, problem.message


@dataclass(frozen=True)
class YamlFile:
    """Content of a file.

    Attributes:
        name: path as the user gave it.
        data: plain dictionaries, lists, text, numbers, booleans and None; the last value of a duplicate key.
        places: line and column of every key and list item, by its path.
        problems: what is wrong although the file could be read; a value that is not plain is None in `data`.
    """

    name: str
    data: dict[str, Any]
    places: dict[Key, Place]
    problems: tuple[Problem, ...]

    def problem(self, key: Key, message: str) -> Problem:
        """A problem with a key, at its position; a missing key gets the position of its parent."""
        parents = (key[:end] for end in range(len(key), 0, -1))
        place = next((self.places[parent] for parent in parents if parent in self.places), (1, 1))
        return Problem(self.name, *place, dotted(key), message)


def dotted(key: Sequence[str | int]) -> str:
    """A key path as text, for example `tasks.1.cap`."""
    return ".".join(map(str, key))


def read_yaml(path: Path) -> YamlFile:
    """Read a YAML file whose top level is a mapping.

    Raises:
        UnreadableFile: it does not exist or cannot be read.
        Problems: it is not YAML, not a mapping, not UTF-8, too large or too deeply nested.
    """
    with open_file(path) as file:
        try:
            content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise UnreadableFile(path, f"cannot be read ({error.strerror})") from error
    return parse_yaml(content, str(path))


def parse_yaml(content: bytes, name: str, functions: bool = False) -> YamlFile:
    """Parse YAML whose top level is a mapping.

    Args:
        content: bytes of the file.
        name: path as the user gave it.
        functions: allow lm-eval's tag `!function`; its values become instances of `Function`.

    Raises:
        Problems: it is not YAML, not a mapping, not UTF-8, too large or too deeply nested.
    """
    read = _read(content, name, functions)
    if not isinstance(read.value, dict):
        not_mapping = Problem(name, 1, 1, "", "must be a mapping: one `key: value` per line", "whole")
        raise Problems(_problems(read, name) or [not_mapping])
    return YamlFile(name, read.value, read.places, _problems(read, name))


def parse_value(text: str, name: str) -> Any:
    """The plain value of a YAML snippet, such as the right-hand side of `--set key=value`.

    Raises:
        Problems: it is not YAML or not plain; their position is `name` without a line.
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
        message = f"the character U+{ord(text[error.position]):04X} is not allowed in YAML"
        raise Problems([Problem(name, *_counted(text[: error.position]), "", message, "encoding")]) from error
    except (ValueError, OverflowError) as error:  # PyYAML does not catch the error of chr() for the escape "\UFFFFFFFF"
        raise Problems([Problem(name, 1, 1, "", f"not YAML ({error})", "syntax")]) from error


def _decoded(content: bytes, name: str) -> str:
    if len(content) > MAX_BYTES:
        message = f"larger than {MAX_BYTES >> 20} MiB, the limit for such files"
        raise Problems([Problem(name, 1, 1, "", message, "size")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _counted(content[: error.start].decode("utf-8", "replace"))
        raise Problems([Problem(name, *place, "", "not UTF-8: save the file as UTF-8", "encoding")]) from error


def _counted(before: str) -> Place:
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _marked(error: yaml.MarkedYAMLError, name: str, what: What) -> Problem:
    """PyYAML's error at its position, context first: it says more than the token that failed."""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    message = ", ".join(part for part in (error.context, error.problem) if part)
    return Problem(name, line, column, "", message or "not YAML", what)
