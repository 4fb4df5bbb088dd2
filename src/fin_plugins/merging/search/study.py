"""A study: its file with one line per candidate, and which candidates are the best.

Each line is on disk before the next candidate is scored, so a killed search loses at most one.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from fin_plugins.common.atomic import remove_unfinished_files, write_file
from fin_plugins.common.errors import FinError, first_line
from fin_plugins.common.validation import StrictModel
from fin_plugins.merging.search.search_config import Floor, SearchConfig

FILE = "study.jsonl"
SCHEMA = 1
_PENALTY = 10.0  # weight of a constraint violation against the seen score, to lead CMA-ES back


class Estimate(StrictModel):
    """A value with its 95 % interval over rows."""

    value: float
    low: float
    high: float


class Candidate(StrictModel):
    """A line of the study.

    Attributes:
        candidate: number, from 0.
        weights: weight of each expert.
        seen: mean score over the tasks.
        tasks: score by task.
        leave_out: worst change of an expert's tasks against the base when the merge leaves that expert out.
        worst: the expert of that worst change.
        left_out: that change for every expert.
        divergence: mean divergence from the base on unlabelled prompts, in nats.
    """

    candidate: int
    weights: dict[str, float]
    seen: Estimate
    tasks: dict[str, float]
    leave_out: Estimate
    worst: str
    left_out: dict[str, float]
    divergence: Estimate

    @property
    def is_base(self) -> bool:
        """Whether all weights are 0, so that there is nothing to merge."""
        return not any(self.weights.values())


class BaseScores(StrictModel):
    """The line of the base: its score by task."""

    base: dict[str, float]


@dataclass
class Study:
    """An open study file.

    Attributes:
        file: path of the file.
        base: the base's score by task; None before it is scored.
        candidates: the candidates in order.
    """

    file: Path
    base: dict[str, float] | None = None
    candidates: list[Candidate] = field(default_factory=list)

    def add_base(self, scores: dict[str, float]) -> None:
        """Append the base's line."""
        self.base = scores
        self._append(BaseScores(base=scores))

    def add(self, candidate: Candidate) -> None:
        """Append a candidate's line."""
        self.candidates.append(candidate)
        self._append(candidate)

    def _append(self, line: StrictModel) -> None:
        try:
            with self.file.open("ab") as stream:
                stream.write(_encode_line(line.model_dump()))
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise FinError(f"{self.file}: cannot be written ({error.strerror}): free some space") from error


@contextmanager
def open_study(folder: Path, header: Mapping[str, Any], *, fresh: bool = False) -> Iterator[Study]:
    """Open the study in a folder, or begin one; an incomplete last line is cut off.

    Args:
        folder: folder of the study, created if necessary.
        header: everything that the scores depend on.
        fresh: discard an existing study.

    Raises:
        FinError: the existing study has another header, is damaged or in use, or the folder cannot be written.
    """
    lock = _lock(folder)
    try:
        remove_unfinished_files(folder)
        yield _open_file(folder / FILE, header, fresh)
    finally:
        lock.release()


def _lock(folder: Path) -> FileLock:
    lock = FileLock(folder / f".{FILE}.lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise FinError(f"{folder}: another search is writing there: wait for it, or name another output") from error
    except OSError as error:
        raise FinError(f"{folder}: cannot be written ({error.strerror or error}): change output") from error
    return lock


def _open_file(file: Path, header: Mapping[str, Any], fresh: bool) -> Study:
    try:
        if fresh or not file.exists() or not _truncate_to_lines(file):
            write_file(file, _encode_line({"schema": SCHEMA, **header}))
        return _read_study(file, header)
    except OSError as error:
        raise FinError(f"{file}: cannot be read or written ({error.strerror or error}): change output") from error


def _encode_line(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


def _truncate_to_lines(file: Path) -> int:
    """Cut off an incomplete last line; returns the number of lines."""
    content = file.read_bytes()
    end = content.rfind(b"\n") + 1
    if end < len(content):
        os.truncate(file, end)
    return content.count(b"\n")


def _read_study(file: Path, header: Mapping[str, Any]) -> Study:
    lines = file.read_bytes().splitlines()
    study = Study(file)
    try:
        _check_header(file, json.loads(lines[0]), {"schema": SCHEMA, **header})
        for line in lines[1:]:
            if study.base is None:
                study.base = BaseScores.model_validate_json(line).base
            else:
                study.candidates.append(Candidate.model_validate_json(line))
        numbers = [candidate.candidate for candidate in study.candidates]
        if numbers != list(range(len(numbers))):
            raise ValueError("candidates are not in order")
    except (ValueError, ValidationError) as error:
        raise FinError(
            f"{file}: damaged ({first_line(error)}): name another output, or --fresh to begin again"
        ) from error
    return study


def _check_header(file: Path, existing: Any, header: Mapping[str, Any]) -> None:
    if not isinstance(existing, dict):
        raise ValueError("its first line is not a header")
    if different := sorted(set(_different_keys(existing, json.loads(json.dumps(header))))):
        raise FinError(
            f"{file}: is a study with another {', '.join(different)}: name another output, or --fresh to begin again"
        )


def _different_keys(first: Any, second: Any, name: str = "") -> Iterator[str]:
    """Dotted names of the values that differ, for example `config.floor`."""
    if isinstance(first, dict) and isinstance(second, dict):
        for key in {*first, *second}:
            yield from _different_keys(first.get(key), second.get(key), f"{name}.{key}" if name else str(key))
    elif first != second:
        yield name


def constraint_violation(candidate: Candidate, floor: Floor) -> float:
    """By how much a candidate misses the floor, summed over its parts; 0 if it keeps the floor."""
    violation = 0.0
    if floor.leave_out is not None:
        violation += max(0.0, floor.leave_out - candidate.leave_out.value)
    if floor.divergence is not None:
        violation += max(0.0, candidate.divergence.value - floor.divergence)
    return violation


def penalized_score(candidate: Candidate, floor: Floor) -> float:
    """The value that a sampler receives: the seen score, minus a penalty for missing the floor."""
    return candidate.seen.value - _PENALTY * constraint_violation(candidate, floor)


def best_candidate(candidates: Sequence[Candidate], floor: Floor) -> Candidate | None:
    """The candidate with the highest seen score of those that keep the floor, the first of equals; None without any."""
    feasible = [candidate for candidate in candidates if constraint_violation(candidate, floor) == 0]
    return max(feasible, key=lambda candidate: candidate.seen.value, default=None)


def nearest_candidate(candidates: Sequence[Candidate], floor: Floor) -> Candidate:
    """The candidate that misses the floor by the least."""
    return min(candidates, key=lambda candidate: (constraint_violation(candidate, floor), -candidate.seen.value))


def candidate_to_write(candidates: Sequence[Candidate], config: SearchConfig) -> Candidate | None:
    """The candidate to write as a merge: the best, or with `otherwise: nearest` the nearest if none keeps the floor.

    Returns:
        The candidate; None if there is none, or if the best one is the base alone.
    """
    if config.otherwise == "nothing":
        best = best_candidate(candidates, config.floor)
        return None if best is None or best.is_base else best
    merges = [candidate for candidate in candidates if not candidate.is_base]
    return best_candidate(merges, config.floor) or (nearest_candidate(merges, config.floor) if merges else None)


def pareto_front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Candidates that no other beats in both `seen` and `leave_out`, by ascending seen score."""
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda it: (-it.seen.value, -it.leave_out.value)):
        if not front or candidate.leave_out.value > front[-1].leave_out.value:
            front.append(candidate)
    return front[::-1]
