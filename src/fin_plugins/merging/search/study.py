"""The study file: what was searched, the base, and one line a candidate, each on disk before the next is asked for."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from fin_plugins.common.atomic import remove_unfinished_files, write_file
from fin_plugins.common.errors import FinError, first_line
from fin_plugins.common.validation import StrictModel

FILE = "study.jsonl"
SCHEMA = 1


class Figure(StrictModel):
    """A figure with its 95 % interval over rows."""

    value: float
    low: float
    high: float


class Candidate(StrictModel):
    """A line of the study."""

    candidate: int
    weights: dict[str, float]
    seen: Figure
    tasks: dict[str, float]
    leave_out: Figure
    worst: str
    left_out: dict[str, float]
    divergence: Figure


class Base(StrictModel):
    """The line of the base: its score by task."""

    base: dict[str, float]


@dataclass
class Study:
    """A study file, open.

    Attributes:
        file: its path.
        base: the base's scores by task; None before it is scored.
        candidates: in their order.
    """

    file: Path
    base: dict[str, float] | None = None
    candidates: list[Candidate] = field(default_factory=list)

    def add_base(self, scores: dict[str, float]) -> None:
        """Write the base's line."""
        self.base = scores
        self._append(Base(base=scores).model_dump())

    def add(self, candidate: Candidate) -> None:
        """Write a candidate's line."""
        self.candidates.append(candidate)
        self._append(candidate.model_dump())

    def _append(self, line: Mapping[str, Any]) -> None:
        try:
            with self.file.open("ab") as out:
                out.write(_line(line))
                out.flush()
                os.fsync(out.fileno())
        except OSError as error:
            raise FinError(f"{self.file}: cannot be written ({error.strerror}): free some space") from error


@contextmanager
def opened(folder: Path, header: Mapping[str, Any], *, fresh: bool = False) -> Iterator[Study]:
    """Open the study in a folder, made if it is not there; a half line that a killed search left is cut off.

    Args:
        folder: the folder.
        header: all that the scores depend on.
        fresh: begin again, whatever is there.

    Raises:
        FinError: the study there is of something else, is damaged or in use, or the folder cannot be written.
    """
    lock = _locked(folder)
    remove_unfinished_files(folder)
    try:
        yield _opened(folder / FILE, header, fresh)
    finally:
        lock.release()


def _locked(folder: Path) -> FileLock:
    lock = FileLock(folder / f".{FILE}.lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise FinError(f"{folder}: another search writes there: wait for it, or name another output") from error
    except OSError as error:
        raise FinError(f"{folder}: cannot be written ({error.strerror or error}): change output") from error
    return lock


def _opened(file: Path, header: Mapping[str, Any], fresh: bool) -> Study:
    try:
        if fresh or not file.exists() or not _whole_lines(file):
            _begin(file, header)
        return _read(file, header)
    except OSError as error:
        raise FinError(f"{file}: cannot be read or written ({error.strerror or error}): change output") from error


def _line(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


def _begin(file: Path, header: Mapping[str, Any]) -> None:
    write_file(file, _line({"schema": SCHEMA, **header}))


def _whole_lines(file: Path) -> int:
    """How many lines the file has, once it ends with a whole one."""
    content = file.read_bytes()
    end = content.rfind(b"\n") + 1
    if end < len(content):
        os.truncate(file, end)
    return content.count(b"\n")


def _read(file: Path, header: Mapping[str, Any]) -> Study:
    lines = file.read_bytes().splitlines()
    study = Study(file)
    try:
        _check_header(file, json.loads(lines[0]), {"schema": SCHEMA, **header})
        for line in lines[1:]:
            if study.base is None:
                study.base = Base.model_validate_json(line).base
            else:
                study.candidates.append(Candidate.model_validate_json(line))
        numbers = [one.candidate for one in study.candidates]
        if numbers != list(range(len(numbers))):
            raise ValueError("candidates are not in order")
    except (ValueError, ValidationError) as error:
        raise FinError(
            f"{file}: damaged ({first_line(error)}): name another output, or --fresh to begin again"
        ) from error
    return study


def _check_header(file: Path, there: Any, ours: Mapping[str, Any]) -> None:
    if not isinstance(there, dict):
        raise ValueError("its first line is no header")
    ours = json.loads(json.dumps(ours))
    if different := sorted(set(_different(there, ours))):
        raise FinError(
            f"{file}: is a study with another {', '.join(different)}: name another output, or --fresh to begin again"
        )


def _different(there: Any, ours: Any, name: str = "") -> Iterator[str]:
    """Names of the parts that differ, as `config.floor`."""
    if isinstance(there, dict) and isinstance(ours, dict):
        for key in {*there, *ours}:
            yield from _different(there.get(key), ours.get(key), f"{name}.{key}" if name else str(key))
    elif there != ours:
        yield name
