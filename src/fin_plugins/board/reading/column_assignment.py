"""Sorting task results into columns: one column per set of conditions, with the newest run of each model."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from fin_plugins.board.board_data import Column, Conditions, Entry, Source
from fin_plugins.board.reading.model_names import ModelNames
from fin_plugins.board.reading.result_files import TaskResult

UNRECORDED = "unrecorded"
"""Stands for documents that neither samples nor a content hash identify."""
# Our tasks in the paper's order; others follow by name.
_TASK_ORDER = ("fpb", "fiqa", "headline", "finred", "fomc", "argument", "deal", "causal")
_SEEN_ORDER = (True, False, None)
_DATA_ORDER = ("real", "unknown", "sample")
_ColumnId = tuple[str, str, Conditions]  # task, protocol, conditions


@dataclass(frozen=True)
class PlacedResult:
    """A task result with its entry on the board. An export needs both."""

    result: TaskResult
    entry: Entry


Columns = list[tuple[Column, list[PlacedResult]]]


def assign_columns(results: Sequence[TaskResult], names: Sequence[ModelNames]) -> tuple[Columns, list[PlacedResult]]:
    """Sort results into columns, in the order of the board.

    Args:
        results: all task results.
        names: model and base of each.

    Returns:
        Each column with the results in it, and the results replaced by newer ones.
    """
    conditions = _separate_prompts(results, _conditions_of(results))
    runs: dict[_ColumnId, dict[str, list[PlacedResult]]] = {}
    for result, (model, base), result_conditions in zip(results, names, conditions, strict=True):
        entry = _entry(result, model, base, result_conditions)
        column = runs.setdefault((entry.task, entry.protocol, result_conditions), {})
        column.setdefault(model, []).append(PlacedResult(result, entry))
    newest, older = _split_newest(runs)
    return _columns(newest), older


def _conditions_of(results: Sequence[TaskResult]) -> list[Conditions]:
    """The conditions of each result.

    A run without samples only has a content hash of its test split. If all runs with samples and that content have the
    same documents, so does the run without.
    """
    rows_by_content: dict[tuple[str, ...], set[str]] = {}
    for result in results:
        if result.rows and result.content_hash:
            rows_by_content.setdefault(_content_key(result), set()).add(result.rows)
    return [_conditions(result, rows_by_content) for result in results]


def _conditions(result: TaskResult, rows_by_content: Mapping[tuple[str, ...], set[str]]) -> Conditions:
    rows = result.rows
    if not rows:
        candidates = rows_by_content.get(_content_key(result), set())
        rows = next(iter(candidates)) if len(candidates) == 1 else result.content_hash[:16] or UNRECORDED
    return Conditions(result.data, rows, result.version, result.prompt, result.shots, result.run.chat, result.limit)


def _content_key(result: TaskResult) -> tuple[str, ...]:
    return (result.name, result.content_hash, str(result.n), str(result.limit))


def _separate_prompts(results: Sequence[TaskResult], conditions: Sequence[Conditions]) -> list[Conditions]:
    """Separate results whose prompts differ although task file, chat template and documents agree.

    Only runs with the same chat template have comparable prompts. The most common prompt keeps its conditions.
    """
    keys = [
        (result.name, result_conditions, result.run.template)
        for result, result_conditions in zip(results, conditions, strict=True)
    ]
    counts: dict[tuple[object, ...], Counter[str]] = {}
    for key, result in zip(keys, results, strict=True):
        if result.prompts:
            counts.setdefault(key, Counter())[result.prompts] += 1
    usual = {key: min(prompts, key=lambda prompt: (-prompts[prompt], prompt)) for key, prompts in counts.items()}
    return [
        result_conditions
        if not result.prompts or usual[key] == result.prompts
        else replace(result_conditions, prompt=f"{result_conditions.prompt}+{result.prompts[:6]}")
        for key, result, result_conditions in zip(keys, results, conditions, strict=True)
    ]


def _entry(result: TaskResult, model: str, base: str | None, conditions: Conditions) -> Entry:
    run = result.run
    return Entry(
        model=model,
        base=base,
        task=result.task,
        protocol=result.protocol,
        seen=result.seen,
        labels=result.labels,
        n=result.n or 0,
        reported=result.reported,
        documents=result.documents,
        conditions=conditions,
        source=Source(run.files.display_name, run.date, run.harness, run.engine, run.settings),
        notes=_notes(result, conditions),
    )


def _notes(result: TaskResult, conditions: Conditions) -> tuple[str, ...]:
    notes = [*result.notes, *result.sample_notes]
    if conditions.data == "sample":
        notes.append("Embedded sample rows: no benchmark.")
    if conditions.rows == UNRECORDED:
        notes.append("Which documents these were is not recorded.")
    return tuple(notes)


def _split_newest(
    runs: Mapping[_ColumnId, Mapping[str, list[PlacedResult]]],
) -> tuple[dict[_ColumnId, list[PlacedResult]], list[PlacedResult]]:
    newest_by_column: dict[_ColumnId, list[PlacedResult]] = {}
    older = []
    for column_id, models in runs.items():
        for model in sorted(models):
            newest, *others = sorted(models[model], key=_recency, reverse=True)
            older += others
            newest_by_column.setdefault(column_id, []).append(_with_note(newest, len(others)))
    return newest_by_column, older


def _recency(placed: PlacedResult) -> tuple[float, bool, bool, str]:
    """Sort key. If a run exists both as lm-eval wrote it and as exported, the more complete form counts as newer."""
    run = placed.result.run
    return run.date, placed.result.documents is not None, run.exported_names is None, run.files.display_name


def _with_note(placed: PlacedResult, older: int) -> PlacedResult:
    if not older:
        return placed
    note = f"Stands for {older} older run{'s' if older > 1 else ''} of this model too, listed apart."
    return replace(placed, entry=replace(placed.entry, notes=(*placed.entry.notes, note)))


def _columns(newest: Mapping[_ColumnId, list[PlacedResult]]) -> Columns:
    by_task: dict[tuple[str, str], list[_ColumnId]] = {}
    for column_id in sorted(newest, key=_priority):
        by_task.setdefault(column_id[:2], []).append(column_id)
    columns = [
        (_column(column_id, task_columns, number, newest[column_id]), newest[column_id])
        for task_columns in by_task.values()
        for number, column_id in enumerate(task_columns, 1)
    ]
    return sorted(columns, key=lambda column: _column_order(column[0]))


def _priority(column_id: _ColumnId) -> tuple[object, ...]:
    """Sort key of a task's columns: real rows, without a limit, newest task version first."""
    conditions = column_id[2]
    version = tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in conditions.version.split("."))
    newest_first = tuple((-kind, -number, text) for kind, number, text in version)
    is_limited = bool(conditions.limit)
    rank = _DATA_ORDER.index(conditions.data)
    return (
        *column_id[:2], rank, is_limited, newest_first, conditions.shots, conditions.chat, str(conditions)
    )  # fmt: skip


def _column(
    column_id: _ColumnId, task_columns: Sequence[_ColumnId], number: int, placed: Sequence[PlacedResult]
) -> Column:
    task, _, conditions = column_id
    first = placed[0].entry
    words = _describe_differences(conditions, [other[2] for other in task_columns if other != column_id])
    title = task.removeprefix("fin_")
    return Column(
        key=f"{task}{'_gen' if first.protocol == 'gen' else ''}{f'~{number}' if number > 1 else ''}",
        title=f"{title} ({', '.join(words)})" if words else title,
        task=task,
        protocol=first.protocol,
        seen=first.seen,
        conditions=conditions,
        explanation=f"Kept apart from the task's other columns; here: {', '.join(words)}." if words else "",
        entries=tuple(result.entry for result in placed),
    )


def _column_order(column: Column) -> tuple[object, ...]:
    name = column.task.removeprefix("fin_")
    position = _TASK_ORDER.index(name) if name in _TASK_ORDER else len(_TASK_ORDER)
    return (_SEEN_ORDER.index(column.seen), position, name, column.protocol == "gen")


def _describe_differences(conditions: Conditions, others: Iterable[Conditions]) -> list[str]:
    """The conditions in which a column differs from the task's others, in a few words each."""
    data_words = {"real": "the real rows", "sample": "the embedded sample rows"}
    words = {
        "data": data_words.get(conditions.data, "rows of unknown origin"),
        "limit": "all documents" if conditions.limit is None else f"{conditions.limit} documents only",
        "rows": "unrecorded documents" if conditions.rows == UNRECORDED else f"documents {conditions.rows[:6]}",
        "version": f"task version {conditions.version}",
        "shots": f"{conditions.shots} few-shot example{'' if conditions.shots == 1 else 's'}",
        "chat": f"{'a' if conditions.chat else 'no'} chat template",
        "prompt": f"prompt {conditions.prompt[-6:]}",
    }
    differing = {name for other in others for name in words if _differs(name, conditions, other)}
    return [text for name, text in words.items() if name in differing]


def _differs(name: str, conditions: Conditions, other: Conditions) -> bool:
    """Whether a condition differs, unless another one that is listed anyway implies it."""
    if name == "rows" and (conditions.data, conditions.limit) != (other.data, other.limit):
        return False
    if name == "prompt" and conditions.shots != other.shots:
        return conditions.prompt.partition(".")[0] != other.prompt.partition(".")[0]
    return bool(getattr(conditions, name) != getattr(other, name))
