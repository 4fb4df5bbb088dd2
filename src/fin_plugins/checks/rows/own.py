"""A user's own tables, read cell by cell as they are: the loader stops at the first thing wrong, this does not."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from fin_plugins.checks.rows.model import Reading, Rows, Split
from fin_plugins.checks.rows.read import made_split, stamped
from fin_plugins.common.errors import FinError
from fin_plugins.common.validation import did_you_mean
from fin_plugins.common.yaml_nodes import Key
from fin_plugins.tasks import own_rows
from fin_plugins.tasks.fields import OwnRows

if TYPE_CHECKING:
    import pandas as pd

    Frames = dict[str, pd.DataFrame]

Problem = tuple[str, Key, str]

_SETTINGS = "dataset_kwargs"
_VALUE, _ROW, _SPLIT = "__value__", "__row__", "__split__"
_LISTED = 12


def read_own(asked: OwnRows, folder: Path) -> Reading:
    """The rows that `dataset_kwargs` names.

    Args:
        asked: the checked settings.
        folder: where the task file lies.
    """
    if asked.hub and not asked.hub.startswith(("./", "../", "/")):
        return Reading(note=f"rows not looked at: the hub data set {asked.hub} is not downloaded for a check")
    files = tuple(stamped(folder / path) for path in [asked.file, *(asked.files or {}).values()] if path)
    return _read(asked.model_dump_json(), str(folder), files)


@lru_cache(maxsize=4)
def _read(settings: str, folder: str, _files: object) -> Reading:
    asked = OwnRows.model_validate_json(settings)
    tables, problems = _tables(asked, Path(folder))
    for split, table in tables.items():
        problems += _missing_columns(asked, _place(asked, split), table)
    if problems:
        return Reading(problems=problems)
    if asked.columns.text == asked.columns.label:
        message = f"the column `{asked.columns.label}` is both text and label, so the prompt shows the right answer"
        return Reading(problems=[("P05", (_SETTINGS, "columns", "text"), message)])
    named = {split: _named(asked, table) for split, table in tables.items()}
    frames, problems = _frames(asked, named)
    unlisted = any(frame["label"].isna().any() for frame in named.values())
    loaded = None
    if not problems and not unlisted and "test" in frames:
        loaded, problems = _loaded(asked, tables)
    splits = {name: _split(asked, frame) for name, frame in frames.items()}
    return Reading(_rows(asked, splits), problems, facts=tuple(_facts(asked, loaded)) if loaded else ())


def _tables(asked: OwnRows, folder: Path) -> "tuple[Frames, list[Problem]]":
    """Every table by its split (`all` where it has none), and those that cannot be read."""
    tables: Frames = {}
    problems: list[Problem] = []
    for key, one in _one_by_one(asked):
        try:
            tables |= own_rows.tables(one, folder)
        except (FinError, OSError, ValueError) as error:  # a name that is too long, or has a NUL in it
            problems.append(("D01", (_SETTINGS, *key), str(error).removeprefix(f"{folder}/")))
    return tables, problems


def _one_by_one(asked: OwnRows) -> Iterator[tuple[Key, OwnRows]]:
    """The same settings a file, each with the key that names it."""
    if not asked.files:
        yield ("hub" if asked.hub else "file",), asked
    for split, path in (asked.files or {}).items():
        yield ("files", split), asked.model_copy(update={"files": {split: path}})


def _missing_columns(asked: OwnRows, place: str, table: "pd.DataFrame") -> list[Problem]:
    columns = asked.columns
    named: dict[Key, str] = {("columns", "text"): columns.text, ("columns", "label"): columns.label}
    named |= {("columns", "also", number): name for number, name in enumerate(columns.also)}
    if asked.split_column:
        named["split_column",] = asked.split_column
    listed = ", ".join(table.columns[:_LISTED]) + (", …" if len(table.columns) > _LISTED else "")
    return [
        (
            "D02",
            (_SETTINGS, *key),
            f"{place} has no column `{name}`{did_you_mean(name, table.columns)}; it has {listed}",
        )
        for key, name in named.items()
        if (own_rows.column(table, name) if key[:2] != ("columns", "also") else table.get(name)) is None
    ]


def _place(asked: OwnRows, split: str) -> str:
    """The file or data set that a table is from, as the task file names it."""
    return dict(asked.files or {}).get(split) or asked.file or f"split {split} of {asked.hub}"  # type: ignore[call-overload]


def _named(asked: OwnRows, table: "pd.DataFrame") -> "pd.DataFrame":
    """The rows with our names: `text`, `label` (the word; None where not listed), and those that no table has."""
    columns = asked.columns
    values = own_rows.column(table, columns.label)
    assert values is not None
    made = table[[name for name in columns.also if name not in own_rows.ADDED]].copy()
    made["text"] = own_rows.column(table, columns.text)
    made["label"] = [own_rows.label_of(value, asked.labels) for value in values]
    made[_VALUE] = [_as_listed(value, asked) for value in values]
    made[_ROW] = [f"{number:,}" for number in range(1, len(table) + 1)]
    if asked.split_column:
        made[_SPLIT] = own_rows.column(table, asked.split_column)
    return own_rows.without_dropped(asked, made, values).reset_index(drop=True)


def _as_listed(value: str, asked: OwnRows) -> str:
    """A cell as the list spells it, where it is in the list; of several that stand for one word, the first."""
    spelled = own_rows.spelled(value, asked.labels)
    if spelled is None:
        return value.strip()
    return _firsts(asked).get(own_rows.label_of(spelled, asked.labels) or "", spelled)


def _firsts(asked: OwnRows) -> dict[str, str]:
    """By word, the first value in the data that stands for it."""
    words = asked.labels if isinstance(asked.labels, dict) else {label: label for label in asked.labels}
    firsts: dict[str, str] = {}
    for value, word in words.items():
        firsts.setdefault(word, value)
    return firsts


def _frames(asked: OwnRows, named: "Frames") -> "tuple[Frames, list[Problem]]":
    """Rows by split, and what is wrong with the splits' names."""
    import pandas as pd

    if asked.splits:
        return _cut(asked, pd.concat(named.values(), ignore_index=True)), []
    if asked.split_column:
        whole = pd.concat(named.values(), ignore_index=True)
        by_name = {str(said): rows.reset_index(drop=True) for said, rows in whole.groupby(_SPLIT, sort=False)}
        return _folded(by_name), _unknown_splits(asked.split_column, by_name)
    return _folded(named), []


def _cut(asked: OwnRows, frame: "pd.DataFrame") -> "Frames":
    """As the loader cuts; rows without a text, which it leaves out, stand in the first split."""
    has_text = frame["text"].str.strip() != ""
    splits = own_rows.cut(asked, frame[has_text])
    empty, first = frame[~has_text], next(iter(splits))
    return {split: _joined([rows, empty] if split == first else [rows]) for split, rows in splits.items()}


def _joined(frames: "Sequence[pd.DataFrame]") -> "pd.DataFrame":
    import pandas as pd

    return pd.concat(frames, ignore_index=True)


def _folded(by_name: "Frames") -> "Frames":
    """Splits by the names that lm-eval is to know them by."""
    found: dict[str, list[pd.DataFrame]] = {}
    for said, rows in by_name.items():
        if known := own_rows.SPLIT_NAMES.get(said.strip().lower()):
            found.setdefault(known, []).append(rows)
    return {split: _joined(frames) for split, frames in found.items()}


def _unknown_splits(column: str, by_name: "Frames") -> list[Problem]:
    unknown = {said: rows for said, rows in by_name.items() if said.strip().lower() not in own_rows.SPLIT_NAMES}
    known = ("train", "validation", "test")
    said = [
        f"{f'`{name}`' if name.strip() else 'nothing'} {len(rows):,} times{did_you_mean(name, known)}"
        for name, rows in list(unknown.items())[:_LISTED]
    ]
    message = f"column {column} says {', '.join(said)}; known are train, validation (or dev, or val) and test"
    return [("D10", (_SETTINGS, "split_column"), message)] if unknown else []


def _loaded(asked: OwnRows, tables: "Frames") -> tuple[own_rows.Split | None, list[Problem]]:
    """What the loader itself makes of these rows: it has the last word on whether they can be used."""
    try:
        return own_rows.split_up(asked, tables, own_rows.where(asked)), []
    except FinError as error:
        return None, [("D11", (_SETTINGS,), str(error))]
    except Exception as error:  # a mistake of the loader's, which would stop an evaluation all the same
        return None, [("D11", (_SETTINGS,), f"the loader fails ({type(error).__name__}: {str(error)[:200]})")]


def _rows(asked: OwnRows, splits: Mapping[str, Split]) -> Rows:
    words = {value: word for word, value in _firsts(asked).items()}
    telling = {"label", "gold", *(name for name in asked.columns.also if name == asked.columns.label)}
    return Rows(
        "own",
        splits,
        labels=words,
        labels_key=(_SETTINGS, "labels"),
        labels_named=isinstance(asked.labels, dict),
        telling=frozenset(telling),
        called={asked.columns.text: "text", asked.columns.label: "label"},
        one_table=asked.file is not None,
        cut=asked.splits is not None,
    )


def _facts(asked: OwnRows, loaded: own_rows.Split) -> Iterator[str]:
    """The sizes of the splits with the labels that each lacks, and what becomes of the cut when the table grows."""
    counted = []
    for split, frame in loaded.frames.items():
        missing = [word for word in asked.words if word not in set(frame["label"])]
        lacks = f" (none of {', '.join(missing[:_LISTED])}{', …' if len(missing) > _LISTED else ''})"
        counted.append(f"{split} {len(frame):,}{lacks if missing else ''}")
    left_out = f"; {loaded.dropped:,} are left out for their label" if loaded.dropped else ""
    yield f"rows of {own_rows.where(asked)}: {', '.join(counted)}{left_out}"
    if (reshuffled := own_rows.reshuffles(asked)) is not None:
        yield f"rows of {own_rows.where(asked)}: {reshuffled}"


def _split(asked: OwnRows, frame: "pd.DataFrame") -> Split:
    also = [name for name in asked.columns.also if name in frame]
    frame = frame.rename(columns={_ROW: "id"})
    shown = frame[["id", "text", "label", *also]]
    return made_split(list(frame["id"]), shown, list(frame[_VALUE]), also, asked.words, asked.aliases)
