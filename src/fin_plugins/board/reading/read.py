"""All of it: files, results, samples, checks, names, columns. A bad file costs what is in it, and never the board."""

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from fin_plugins.board.model import METRICS, Problem, Reading
from fin_plugins.board.reading.answers import file_part, read_answers
from fin_plugins.board.reading.check import check
from fin_plugins.board.reading.columns import Columns, Placed, place
from fin_plugins.board.reading.files import RunFiles, find
from fin_plugins.board.reading.names import Chosen, altered, show_names
from fin_plugins.board.reading.raw import Answered, Raw, Record, Run
from fin_plugins.board.reading.results import impossible_date, raw_of, run_of
from fin_plugins.board.reading.samples import read_samples
from fin_plugins.board.reading.trained import trained_on
from fin_plugins.board.reading.values import NoLabels, Unusable, read_object

_MUCH = 100_000_000  # bytes of samples: a second or two of one core, which starting processes takes as well
_PROCESSES = 8
UNFORESEEN = "holds something that nobody thought of"


@dataclass(frozen=True)
class Gathered:
    """What was read, with what export needs beside the entries.

    Attributes:
        columns: what stands in each column, in the order of the board.
        older: what newer runs replace.
        problems: what was left out.
    """

    columns: Columns
    older: list[Placed]
    problems: list[Problem]


def read_results(
    paths: Sequence[Path], *, names: Mapping[str, str] | None = None, with_documents: bool = False
) -> Reading:
    """Read result and sample files, as lm-eval writes them or as `fin board export` does.

    Args:
        paths: folders, searched at any depth, result files, or lists that `fin eval --written` wrote.
        names: names to show, by a model's path, its name on the hub, the adapter's name, or the name shown without.
        with_documents: keep the documents' texts and the replies.

    Returns:
        Entries in columns; of several runs of a model under the same conditions the newest. What could not be used is
        among the problems: an error where two figures contradict each other, a remark where something is missing.

    Raises:
        FinError: a path does not exist, or there is no result file below any of them.
    """
    gathered = gather(paths, names or {}, with_documents=with_documents)
    older = tuple(placed.entry for placed in gathered.older)
    return Reading(tuple(column for column, _ in gathered.columns), older, tuple(gathered.problems))


def gather(paths: Sequence[Path], names: Mapping[str, str], *, with_documents: bool) -> Gathered:
    """As `read_results`.

    Raises:
        FinError: likewise.
    """
    files, problems = find(paths)
    records: list[Record] = []
    for found, complaints in _read_runs(files, with_documents):
        records += found
        problems += complaints
    chosen = Chosen(names)
    columns, older = place(records, show_names([record.raw.run for record in records], chosen))
    problems += [
        Problem(one, "no model here has this path or name: it was named in vain", False) for one in chosen.unused()
    ]
    return Gathered(columns, older, problems)


def _read_runs(files: Sequence[RunFiles], with_documents: bool) -> Iterable[tuple[list[Record], list[Problem]]]:
    """Every run, in order; a process a core where there is much to read, which is nearly all parsing of JSON."""
    read = partial(_read_run, with_documents=with_documents)
    size = sum(file.stat().st_size for run in files for file in run.samples.values() if file.is_file())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if size < _MUCH or min(cores, len(files)) < 2:
        return map(read, files)
    with ProcessPoolExecutor(min(cores, len(files), _PROCESSES), mp_context=get_context("spawn")) as pool:
        return list(pool.map(read, files, chunksize=1))


def _read_run(files: RunFiles, with_documents: bool) -> tuple[list[Record], list[Problem]]:
    """A run with all that is wrong with it: whatever its files hold, they cost no other run."""
    try:
        data = read_object(files.result)
        return _tasks(data, run_of(data, files), with_documents)
    except Unusable as error:
        return [], [Problem(files.shown, f"{error}: the whole run was left out", error.is_error)]
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
        said = f"{UNFORESEEN} ({type(error).__name__}: {str(error)[:80]}): the whole run was left out"
        return [], [Problem(files.shown, said, True)]


def _tasks(data: dict[str, Any], run: Run, with_documents: bool) -> tuple[list[Record], list[Problem]]:
    files = run.files
    problems = [Problem(files.shown, message, False) for message in [*altered(run), *impossible_date(data)]]
    records = []
    for name in data["configs"]:
        try:
            raw = raw_of(data, run, name)
            if note := trained_on(data, raw, _sample_file(raw)):
                raw = replace(raw, kept_notes=(*raw.kept_notes, note))
                problems.append(Problem(files.shown, f"{_short(name)}: {note}", False))
            record, complaints = _record(raw, with_documents)
            records += record
            problems += complaints
        except Unusable as error:
            problems.append(Problem(files.shown, f"{_short(name)}: {error}: the task was left out", error.is_error))
        except RecursionError:
            problems.append(Problem(files.shown, f"{_short(name)}: nested too deep: the task was left out", False))
    return records, problems + _unclaimed(files, data)


def _record(raw: Raw, with_documents: bool) -> tuple[list[Record], list[Problem]]:
    """The task with its samples; without them where they cannot be used; not at all where they contradict the result.

    Raises:
        Unusable: there is no figure, with or without samples.
    """
    file = _sample_file(raw)
    if file is None:
        return [_without(raw, "" if _explained(raw) else "No sample file: no intervals.")], []
    shown = raw.run.files.beside(file)
    try:
        answered = _answered(file, raw, with_documents)
    except NoLabels as reason:
        note = f"Only what the harness reports, without intervals: {reason}."
        return [_without(raw, note, reason.rows, reason.prompts)], []
    except Unusable as error:
        if error.is_error:
            return [], [Problem(shown, f"{_short(raw.name)}: {error}: the task was left out", True)]
        problem = Problem(
            shown,
            f"{error}: the samples were left out, the result stands without intervals (score again to have them)",
            False,
        )
        return [_without(raw, "Its sample file cannot be used: no intervals.")], [problem]
    return [Record(raw, answered, answered.rows, answered.prompts)], []


def _answered(file: Path, raw: Raw, with_documents: bool) -> Answered:
    read = read_answers(file, raw) if raw.run.names else read_samples(file, raw, with_documents=with_documents)
    check(read, raw.reported)
    return read


def _sample_file(raw: Raw) -> Path | None:
    files = raw.run.files
    return files.answers.get(file_part(raw.name)) if raw.run.names else files.samples.get(raw.name)


def _explained(raw: Raw) -> bool:
    """Whether the committed form says already why there are no intervals."""
    return any("intervals" in note for note in raw.kept_notes)


def _without(raw: Raw, note: str = "", rows: str = "", prompts: str = "") -> Record:
    if not any(metric in raw.reported for metric in METRICS):
        figures = ", ".join(raw.reported)[:80] or "nothing"
        raise Unusable(f"it reports {figures}, none of {', '.join(METRICS)}, and no samples give them")
    if raw.n is None:
        raise Unusable("it does not say on how many documents")
    return Record(raw, None, rows or raw.rows, prompts or raw.prompts, (note,) if note else ())


def _unclaimed(files: RunFiles, data: Mapping[str, Any]) -> list[Problem]:
    """Sample files of tasks that the result file does not have."""
    known = {part for name in data["configs"] for part in (name, file_part(name))}
    return [
        Problem(files.beside(file), "its task is not in the result file: it was left out", False)
        for task, file in sorted({**files.samples, **files.answers}.items())
        if task not in known
    ]


def _short(name: str) -> str:
    return name if len(name) <= 80 else f"{name[:80]}…"
