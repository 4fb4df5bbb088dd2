"""Entries into columns: equal conditions under each other, the newest run of a model on top, older ones aside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fin_plugins.board.model import Column, Conditions, Entry, Source
from fin_plugins.board.reading.conditions import UNRECORDED, conditions_of, differences
from fin_plugins.board.reading.names import Names
from fin_plugins.board.reading.raw import Record

# Ours stand in the paper's order; other tasks behind them, by name.
_ORDER = ("fpb", "fiqa", "headline", "finred", "fomc", "argument", "deal", "causal")
_SEEN = (True, False, None)
_DATA = ("real", "unknown", "sample")
_Place = tuple[str, str, Conditions]


@dataclass(frozen=True)
class Placed:
    """A record with its entry; what is written by `fin board export` needs both."""

    record: Record
    entry: Entry


Columns = list[tuple[Column, list[Placed]]]


def place(records: Sequence[Record], names: Sequence[Names]) -> tuple[Columns, list[Placed]]:
    """Columns with what stands in them, in the order of the board, and the older runs.

    Args:
        records: everything that was read.
        names: model and base of each.
    """
    conditions = _apart_by_prompts(records, conditions_of(records))
    runs: dict[_Place, dict[str, list[Placed]]] = {}
    for record, (model, base), those in zip(records, names, conditions, strict=True):
        entry = _entry(record, model, base, those)
        column = runs.setdefault((entry.task, entry.protocol, those), {})
        column.setdefault(model, []).append(Placed(record, entry))
    kept, older = _newest(runs)
    return _columns(kept), older


def _apart_by_prompts(records: Sequence[Record], conditions: Sequence[Conditions]) -> list[Conditions]:
    """Set apart what only the prompts themselves show: same task file, template and documents, and yet other prompts.

    Prompts can be compared between runs with the same chat template only. What most runs have stays where it is.
    """
    counts: dict[tuple[object, ...], dict[str, int]] = {}
    keys = [
        (record.raw.name, those, record.raw.run.template) for record, those in zip(records, conditions, strict=True)
    ]
    prompts = [record.prompts for record in records]
    for key, prompt in zip(keys, prompts, strict=True):
        if prompt:
            found = counts.setdefault(key, {})
            found[prompt] = found.get(prompt, 0) + 1
    usual = {key: min(found, key=lambda one: (-found[one], one)) for key, found in counts.items()}
    return [
        those if not prompt or usual[key] == prompt else replace(those, prompt=f"{those.prompt}+{prompt[:6]}")
        for key, prompt, those in zip(keys, prompts, conditions, strict=True)
    ]


def _entry(record: Record, model: str, base: str | None, conditions: Conditions) -> Entry:
    raw, run = record.raw, record.raw.run
    return Entry(
        model=model,
        base=base,
        task=raw.task,
        protocol=raw.protocol,
        seen=raw.seen,
        labels=record.labels,
        n=record.n,
        reported=raw.reported,
        documents=record.answered.documents if record.answered else None,
        conditions=conditions,
        source=Source(run.files.shown, run.date, run.harness, run.engine, run.settings),
        notes=_notes(record, conditions),
    )


def _notes(record: Record, conditions: Conditions) -> tuple[str, ...]:
    notes = [*record.raw.notes, *record.notes_on_samples]
    if conditions.data == "sample":
        notes.append("Embedded sample rows: no benchmark.")
    if conditions.rows == UNRECORDED:
        notes.append("Which documents these were is not recorded.")
    return tuple(notes)


def _newest(runs: Mapping[_Place, Mapping[str, list[Placed]]]) -> tuple[dict[_Place, list[Placed]], list[Placed]]:
    kept: dict[_Place, list[Placed]] = {}
    older = []
    for where, models in runs.items():
        for model in sorted(models):
            newest, *others = sorted(models[model], key=_age, reverse=True)
            older += others
            kept.setdefault(where, []).append(_with_note(newest, len(others)))
    return kept, older


def _age(placed: Placed) -> tuple[float, bool, bool, str]:
    """The same run may be there twice, as lm-eval wrote it and as exported: then the fuller one."""
    run = placed.record.raw.run
    return run.date, placed.record.answered is not None, run.names is None, run.files.shown


def _with_note(placed: Placed, older: int) -> Placed:
    if not older:
        return placed
    note = f"Stands for {older} older run{'s' if older > 1 else ''} of this model too, listed apart."
    return Placed(placed.record, replace(placed.entry, notes=(*placed.entry.notes, note)))


def _columns(kept: Mapping[_Place, list[Placed]]) -> Columns:
    of_task: dict[tuple[str, str], list[_Place]] = {}
    for where in sorted(kept, key=_place_order):
        of_task.setdefault(where[:2], []).append(where)
    columns = [
        (_column(where, places, number, kept[where]), kept[where])
        for places in of_task.values()
        for number, where in enumerate(places, 1)
    ]
    return sorted(columns, key=lambda column: _column_order(column[0]))


def _place_order(where: _Place) -> tuple[object, ...]:
    """The column to look at first: real rows, all of them, newest task version."""
    those = where[2]
    version = tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in those.version.split("."))
    newest_first = tuple((-kind, -number, text) for kind, number, text in version)
    limit = those.limit or ""
    return (*where[:2], _DATA.index(those.data), bool(limit), newest_first, those.shots, those.chat, str(those))


def _column(where: _Place, places: Sequence[_Place], number: int, placed: Sequence[Placed]) -> Column:
    task, _, those = where
    first = placed[0].entry
    words = differences(those, [other[2] for other in places if other != where])
    title = task.removeprefix("fin_")
    return Column(
        key=f"{task}{'_gen' if first.protocol == 'gen' else ''}{f'~{number}' if number > 1 else ''}",
        title=f"{title} ({', '.join(words)})" if words else title,
        task=task,
        protocol=first.protocol,
        seen=first.seen,
        conditions=those,
        explanation=f"Kept apart from the task's other columns; here: {', '.join(words)}." if words else "",
        entries=tuple(one.entry for one in placed),
    )


def _column_order(column: Column) -> tuple[object, ...]:
    name = column.task.removeprefix("fin_")
    known = _ORDER.index(name) if name in _ORDER else len(_ORDER)
    return (_SEEN.index(column.seen), known, name, column.protocol == "gen")
