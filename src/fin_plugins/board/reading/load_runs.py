"""Loading result files with their samples into columns. A bad file costs its own results, never the board."""

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from fin_plugins.board.board_data import METRICS, RATES, LoadedRuns, Problem
from fin_plugins.board.reading.answers_parquet import AnswerRows, decode_answers
from fin_plugins.board.reading.column_assignment import PlacedResult, assign_columns
from fin_plugins.board.reading.json_utils import (
    UnknownLabels,
    UnusableFile,
    as_int,
    hash_rows,
    iter_json_lines,
    read_json_object,
)
from fin_plugins.board.reading.model_names import ChosenNames, name_models, name_problems
from fin_plugins.board.reading.result_files import Run, TaskResult, date_problems, parse_run, parse_task
from fin_plugins.board.reading.run_files import RunFiles, find_runs
from fin_plugins.board.reading.sample_files import Answers, read_samples
from fin_plugins.common.foreign_files import get_in
from fin_plugins.data.text_hashes import read_trained_rows, row_hash
from fin_plugins.stats.metrics import confusion, scores_from_margins
from fin_plugins.tasks.label_parser import AMBIGUOUS, MISSING

PARALLEL_BYTES = 100_000_000
"""Size of all samples from which on several processes read them: one core needs as long as starting the processes."""
UNEXPECTED = "has unexpected content"
_MAX_PROCESSES = 8
_TOLERANCE = 1e-6  # sums in a different order; the files have all digits
_WEIGHT_KEYS = ("pretrained", "peft", "lora_local_path")


@dataclass(frozen=True)
class PlacedRuns(LoadedRuns):
    """The loaded runs together with the task results behind the entries.

    Attributes:
        placed: results in the columns, in the order of the board.
    """

    placed: tuple[PlacedResult, ...] = ()


def load_runs(
    paths: Sequence[Path], *, names: Mapping[str, str] | None = None, with_documents: bool = False
) -> PlacedRuns:
    """Load result and sample files written by lm-eval, or what `fin board export` wrote.

    Args:
        paths: folders (searched at any depth), result files, manifests from `fin eval --written`, or exports.
        names: display names, by a model's path, hub name, adapter name or default display name.
        with_documents: keep document texts and replies.

    Returns:
        Entries in columns; of several runs of a model under the same conditions, the newest. Whatever could not be
        used is a problem: an error if figures contradict each other, a note if something is missing.

    Raises:
        FinError: a path does not exist, or there is no result file below any of them.
    """
    files, problems = find_runs(paths)
    results: list[TaskResult] = []
    for run_results, run_problems in _read_runs(files, with_documents):
        results += run_results
        problems += run_problems
    chosen = ChosenNames(names or {})
    models = [result.run.exported_names or result.run.model for result in results]
    columns, older = assign_columns(results, name_models(models, chosen))
    problems += [
        Problem(key, "no loaded model has this path or name: the name given for it was not used", False)
        for key in chosen.unused()
    ]
    return PlacedRuns(
        columns=tuple(column for column, _ in columns),
        older=tuple(placed.entry for placed in older),
        problems=tuple(problems),
        placed=tuple(result for _, placed in columns for result in placed),
    )


def _read_runs(files: Sequence[RunFiles], with_documents: bool) -> Iterable[tuple[list[TaskResult], list[Problem]]]:
    """Read every run, in order; on several cores if there is much JSON to parse."""
    read = partial(_read_run, with_documents=with_documents)
    size = sum(file.stat().st_size for run in files for file in run.samples.values() if file.is_file())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = min(cores, len(files), _MAX_PROCESSES)
    if size < PARALLEL_BYTES or processes < 2:
        return map(read, files)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return list(pool.map(read, files, chunksize=1))


def _read_run(files: RunFiles, with_documents: bool) -> tuple[list[TaskResult], list[Problem]]:
    """One run and its problems. Whatever its files contain, no other run is affected."""
    try:
        data = files.exported.result if files.exported else read_json_object(files.result)
        return _read_tasks(data, parse_run(data, files), with_documents)
    except UnusableFile as error:
        return [], [Problem(files.message_name, f"{error}: the whole run was left out", error.is_error)]
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
        message = f"{UNEXPECTED} ({type(error).__name__}: {str(error)[:80]}): the whole run was left out"
        return [], [Problem(files.message_name, message, True)]


def _read_tasks(data: dict[str, Any], run: Run, with_documents: bool) -> tuple[list[TaskResult], list[Problem]]:
    files = run.files
    messages = [*name_problems(run.exported_names or run.model), *date_problems(data)]
    problems = [Problem(files.message_name, message, False) for message in messages]
    results = []
    for name in data["configs"]:
        try:
            task = parse_task(data, run, name)
            samples = _samples_of(task)
            if note := _trained_rows_note(data, task, samples):
                task = replace(task, sample_notes=(*task.sample_notes, note))
                problems.append(Problem(files.message_name, f"{_short(name)}: {note}", False))
            result, problem = _with_samples(task, samples, with_documents)
            results += [result] if result else []
            problems += [problem] if problem else []
        except UnusableFile as error:
            message = f"{_short(name)}: {error}: the task was left out"
            problems.append(Problem(files.message_name, message, error.is_error))
        except RecursionError:
            message = f"{_short(name)}: nested too deep: the task was left out"
            problems.append(Problem(files.message_name, message, False))
    return results, problems + _unmatched_samples(files, data)


def _with_samples(
    task: TaskResult, samples: Path | AnswerRows | None, with_documents: bool
) -> tuple[TaskResult | None, Problem | None]:
    """The task with its samples; without if they are unusable; None if they contradict the result.

    Raises:
        UnusableFile: there is no figure, with or without samples.
    """
    if samples is None:
        # The exported form already says why there are no intervals.
        is_explained = any("intervals" in note for note in task.sample_notes)
        return _without_samples(task, "" if is_explained else "No sample file: no intervals."), None
    try:
        if isinstance(samples, AnswerRows):
            answers = _decode(samples, task)
        else:
            answers = read_samples(samples, task, with_documents=with_documents)
        check_reported(answers, task.reported)
    except UnknownLabels as reason:
        note = f"Only what the harness reports, without intervals: {reason}."
        return _without_samples(task, note, reason.rows, reason.prompts), None
    except UnusableFile as error:
        files = task.run.files
        display_name = files.display_name_of(samples) if isinstance(samples, Path) else files.message_name
        if error.is_error:
            return None, Problem(display_name, f"{_short(task.name)}: {error}: the task was left out", True)
        remedy = "evaluate again" if isinstance(samples, Path) else f"export {_short(task.name)} again"
        message = f"{error}: the samples were left out, so the result has no intervals ({remedy} to get them)"
        return _without_samples(task, "Its sample file cannot be used: no intervals."), Problem(
            display_name, message, False
        )
    result = replace(
        task,
        labels=answers.labels,
        documents=answers.documents,
        n=len(answers.documents.hashes),
        rows=answers.rows,
        prompts=answers.prompts,
        recomputed=answers.recomputed,
        sample_notes=(*task.sample_notes, *answers.notes),
    )
    return result, None


def _without_samples(task: TaskResult, note: str, rows: str = "", prompts: str = "") -> TaskResult:
    if not any(metric in task.reported for metric in METRICS):
        figures = ", ".join(task.reported)[:80] or "nothing"
        raise UnusableFile(
            f"it reports {figures}, but none of {', '.join(METRICS)}, and has no samples to compute them"
        )
    if task.n is None:
        raise UnusableFile("its number of documents is unknown")
    return replace(
        task,
        rows=rows or task.rows,
        prompts=prompts or task.prompts,
        recomputed=(),
        sample_notes=(*task.sample_notes, *([note] if note else [])),
    )


def recompute_figures(answers: Answers) -> dict[str, float]:
    """Metrics and rates from gold labels and answers, from 0 to 1 (MCC from -1)."""
    documents = answers.documents
    counts = confusion(documents.gold, documents.answers, len(answers.labels)).astype(np.float64)
    margins = (counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0))  # ten times as fast as scikit-learn
    scores = scores_from_margins(*(margin[:, None] for margin in margins))[:, 0].tolist()
    rates = {
        rate: float(np.mean(documents.answers == code)) for rate, code in zip(RATES, (MISSING, AMBIGUOUS), strict=True)
    }
    return dict(zip(METRICS, scores, strict=True)) | rates


def check_reported(answers: Answers, reported: Mapping[str, float]) -> None:
    """Check that the reported figures follow from the answers.

    Raises:
        UnusableFile: some do not.
    """
    recomputed = recompute_figures(answers)
    wrong = [
        f"{name} is {reported[name]:.6g} in the result file and {recomputed[name]:.6g} recomputed from the samples"
        for name in answers.recomputed
        if name in reported and abs(reported[name] - recomputed[name]) > _TOLERANCE
    ]
    if wrong:
        raise UnusableFile("; ".join(wrong), is_error=True)


def _samples_of(task: TaskResult) -> Path | AnswerRows | None:
    files = task.run.files
    return files.exported.answers.get(task.name) if files.exported else files.samples.get(task.name)


def _decode(rows: AnswerRows, task: TaskResult) -> Answers:
    documents = decode_answers(rows, task.labels, task.n)
    rows_hash = hash_rows(documents.hashes, task.labels)
    return Answers(task.labels, documents, rows_hash, task.prompts, task.recomputed)


def _unmatched_samples(files: RunFiles, data: Mapping[str, Any]) -> list[Problem]:
    """Samples of tasks that are not in the result file."""
    unknown = [
        Problem(files.display_name_of(file), "its task is not in the result file: it was left out", False)
        for task, file in sorted(files.samples.items())
        if task not in data["configs"]
    ]
    orphans = sorted(files.exported.answers.keys() - data["configs"].keys()) if files.exported else []
    message = f"has answers of tasks that are not in its result ({_short(', '.join(orphans))}): they were left out"
    return [*unknown, *([Problem(files.message_name, message, False)] if orphans else [])]


def _trained_rows_note(data: Mapping[str, Any], task: TaskResult, samples: Path | AnswerRows | None) -> str:
    """A note on how many test rows the model was trained on; empty if none, or unknown.

    `fin eval` records the number in the result file; otherwise it is looked up beside the model's weights.
    """
    recorded = get_in(data, "config", "fin", "test_rows_trained_on")
    if isinstance(recorded, dict):
        count, total = as_int(recorded.get(task.name)) or 0, task.total or task.n
    else:
        count, total = _count_trained_rows(task, samples), task.n
    return f"The model was trained on {count} of {total} test rows." if count else ""


def _count_trained_rows(task: TaskResult, samples: Path | AnswerRows | None) -> int:
    values = [task.run.model_args.get(name) for name in _WEIGHT_KEYS]
    folders = [Path(value) for value in values if isinstance(value, str) and value]
    if not isinstance(samples, Path) or not (hashes := _trained_row_hashes(folders)):
        return 0
    try:
        texts = {row.get("doc_id"): get_in(row, "doc", "text") for _, row in iter_json_lines(samples)}
    except (UnusableFile, TypeError):  # reported when the samples are read
        return 0
    return sum(isinstance(text, str) and row_hash(text) in hashes for text in texts.values())


def _trained_row_hashes(folders: Sequence[Path]) -> frozenset[str]:
    try:
        return read_trained_rows(*(folder.expanduser() for folder in folders))
    except (OSError, ValueError, RuntimeError):  # not the name of a folder
        return frozenset()


def _short(name: str) -> str:
    return name if len(name) <= 80 else f"{name[:80]}…"
