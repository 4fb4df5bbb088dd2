"""A user's own tables, read like the loader reads them, except that every problem is collected.

The loader stops at the first problem. Reading, column paths, label spellings, dropped labels and cuts are its own code.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from fin_plugins.checks.task_rows import RowProblem, RowsResult, SplitRows, TaskRows, file_stamp, fin_split
from fin_plugins.common.errors import FinError
from fin_plugins.common.validation import did_you_mean
from fin_plugins.common.yaml_nodes import Key
from fin_plugins.tasks import custom_rows
from fin_plugins.tasks.task_config import CustomDatasetConfig

if TYPE_CHECKING:
    import pandas as pd

    Frames = dict[str, pd.DataFrame]

_ROOT = "dataset_kwargs"
_VALUE, _ROW, _SPLIT = "__value__", "__row__", "__split__"
_MAX_LISTED = 12


def read_custom_rows(config: CustomDatasetConfig, folder: Path) -> RowsResult:
    """Read the rows that `dataset_kwargs` names.

    Args:
        config: the valid settings.
        folder: folder of the task file.
    """
    if config.hub and not config.hub.startswith(("./", "../", "/")):
        return RowsResult(note=f"rows not checked: the check does not download the hub data set {config.hub}")
    stamps = tuple(file_stamp(folder / path) for path in [config.file, *(config.files or {}).values()] if path)
    return _read(config.model_dump_json(), str(folder), stamps)


@lru_cache(maxsize=4)
def _read(settings: str, folder: str, _stamps: object) -> RowsResult:
    """Cached, because a task and its generative variant share their rows."""
    config = CustomDatasetConfig.model_validate_json(settings)
    tables, problems = _read_tables(config, Path(folder))
    for split, table in tables.items():
        problems += _missing_columns(config, _source_name(config, split), table)
    if problems:
        return RowsResult(problems=problems)
    if config.columns.text == config.columns.label:
        message = f"the column `{config.columns.label}` is both text and label, so the prompt shows the right answer"
        return RowsResult(problems=[RowProblem("P05", (_ROOT, "columns", "text"), message)])
    renamed = {split: _rename_columns(config, table) for split, table in tables.items()}
    frames, problems = _split_frames(config, renamed)
    facts: list[str] = []
    if not problems and "test" in frames and not any(frame["label"].isna().any() for frame in renamed.values()):
        facts, problems = _try_loader(config, tables)
    return RowsResult(_task_rows(config, frames), problems, facts=facts)


def _read_tables(config: CustomDatasetConfig, folder: Path) -> "tuple[Frames, list[RowProblem]]":
    """Every table by split (`all` for a single table), and the problems of those that cannot be read."""
    tables: Frames = {}
    problems: list[RowProblem] = []
    for key, part in _parts(config):
        try:
            tables |= custom_rows.read_tables(part, folder)
        except (FinError, OSError, ValueError) as error:  # such as a name that is too long or contains a NUL
            problems.append(RowProblem("D01", (_ROOT, *key), str(error).removeprefix(f"{folder}/")))
    return tables, problems


def _parts(config: CustomDatasetConfig) -> Iterator[tuple[Key, CustomDatasetConfig]]:
    """The settings for one file at a time, each with the key that names the file."""
    if not config.files:
        yield ("hub" if config.hub else "file",), config
    for split, path in (config.files or {}).items():
        yield ("files", split), config.model_copy(update={"files": {split: path}})


def _missing_columns(config: CustomDatasetConfig, source: str, table: "pd.DataFrame") -> Iterator[RowProblem]:
    columns = config.columns
    present: dict[Key, tuple[str, bool]] = {
        ("columns", "text"): (columns.text, custom_rows.find_column(table, columns.text) is not None),
        ("columns", "label"): (columns.label, custom_rows.find_column(table, columns.label) is not None),
    }
    present |= {("columns", "also", number): (name, name in table) for number, name in enumerate(columns.also)}
    if config.split_column:
        present["split_column",] = (
            config.split_column,
            custom_rows.find_column(table, config.split_column) is not None,
        )
    listing = ", ".join(table.columns[:_MAX_LISTED]) + (", …" if len(table.columns) > _MAX_LISTED else "")
    for key, (name, is_present) in present.items():
        if not is_present:
            message = f"{source} has no column `{name}`{did_you_mean(name, table.columns)}; it has {listing}"
            yield RowProblem("D02", (_ROOT, *key), message)


def _source_name(config: CustomDatasetConfig, split: str) -> str:
    """The file or data set of a table, as the task file names it."""
    return dict(config.files or {}).get(split) or config.file or f"split {split} of {config.hub}"  # type: ignore[call-overload]


def _rename_columns(config: CustomDatasetConfig, table: "pd.DataFrame") -> "pd.DataFrame":
    """The rows with `text`, `label` (the word; None if not listed), the extra columns, and our helper columns."""
    columns = config.columns
    values = custom_rows.find_column(table, columns.label)
    assert values is not None
    frame = table[[name for name in columns.also if name not in custom_rows.RESERVED_COLUMNS]].copy()
    frame["text"] = custom_rows.find_column(table, columns.text)
    labels = [custom_rows.label_word(value, config.labels) for value in values]
    first_values = _first_values(config)
    frame["label"] = labels
    frame[_VALUE] = [
        value.strip() if label is None else first_values[label] for label, value in zip(labels, values, strict=True)
    ]
    frame[_ROW] = [f"{number:,}" for number in range(1, len(table) + 1)]
    if config.split_column:
        frame[_SPLIT] = custom_rows.find_column(table, config.split_column)
    return custom_rows.without_dropped_labels(config, frame, values).reset_index(drop=True)


def _first_values(config: CustomDatasetConfig) -> dict[str, str]:
    """The first listed value in the data for each word."""
    words = config.labels if isinstance(config.labels, dict) else {label: label for label in config.labels}
    first_values: dict[str, str] = {}
    for value, word in words.items():
        first_values.setdefault(word, value)
    return first_values


def _split_frames(config: CustomDatasetConfig, tables: "Frames") -> "tuple[Frames, list[RowProblem]]":
    """Rows by split, and unknown names in the split column."""
    if config.splits:
        return _cut(config, _concat(tables.values())), []
    if config.split_column:
        groups = _concat(tables.values()).groupby(_SPLIT, sort=False)
        named = {str(name): rows.reset_index(drop=True) for name, rows in groups}
        return _merge_splits(named), _unknown_splits(config.split_column, named)
    return _merge_splits(tables), []


def _cut(config: CustomDatasetConfig, frame: "pd.DataFrame") -> "Frames":
    """The loader's cut; rows without text, which the loader drops, go to the first split."""
    has_text = frame["text"].str.strip() != ""
    splits = custom_rows.cut_splits(config, frame[has_text])
    first = next(iter(splits))
    return {split: _concat([rows, frame[~has_text]] if split == first else [rows]) for split, rows in splits.items()}


def _concat(frames: "Iterable[pd.DataFrame]") -> "pd.DataFrame":
    import pandas as pd

    return pd.concat(frames, ignore_index=True)


def _merge_splits(named: "Frames") -> "Frames":
    """Rows by lm-eval's name of the split; tables with an unknown name are left out."""
    splits: dict[str, list[pd.DataFrame]] = {}
    for name, rows in named.items():
        if split := custom_rows.SPLIT_ALIASES.get(name.strip().lower()):
            splits.setdefault(split, []).append(rows)
    return {split: _concat(frames) for split, frames in splits.items()}


def _unknown_splits(column: str, named: "Frames") -> list[RowProblem]:
    unknown = {name: len(rows) for name, rows in named.items() if name.strip().lower() not in custom_rows.SPLIT_ALIASES}
    if not unknown:
        return []
    known = ("train", "validation", "test")
    listing = ", ".join(
        f"{f'`{name}`' if name.strip() else 'nothing'} {count:,} times{did_you_mean(name, known)}"
        for name, count in list(unknown.items())[:_MAX_LISTED]
    )
    message = f"column {column} has {listing}; valid are train, validation (or dev, or val) and test"
    return [RowProblem("D10", (_ROOT, "split_column"), message)]


def _try_loader(config: CustomDatasetConfig, tables: "Frames") -> tuple[list[str], list[RowProblem]]:
    """Run the loader itself, which decides: facts about the splits that it makes, or why it fails."""
    try:
        loaded = custom_rows.make_splits(config, tables, custom_rows.source_name(config))
    except FinError as error:
        return [], [RowProblem("D11", (_ROOT,), str(error))]
    except Exception as error:  # a bug in the loader would stop an evaluation just the same
        message = f"the loader fails ({type(error).__name__}: {str(error)[:200]})"
        return [], [RowProblem("D11", (_ROOT,), message)]
    return list(_facts(config, loaded)), []


def _facts(config: CustomDatasetConfig, loaded: custom_rows.CustomSplits) -> Iterator[str]:
    """The size of each split with the labels that it lacks, and whether the cut changes when the table grows."""
    sizes = []
    for split, frame in loaded.frames.items():
        missing = [word for word in config.words if word not in set(frame["label"])]
        listing = ", ".join(missing[:_MAX_LISTED]) + (", …" if len(missing) > _MAX_LISTED else "")
        sizes.append(f"{split} {len(frame):,}" + (f" (none of {listing})" if missing else ""))
    dropped = f"; {loaded.dropped:,} are left out for their label" if loaded.dropped else ""
    yield f"rows of {custom_rows.source_name(config)}: {', '.join(sizes)}{dropped}"
    if (warning := custom_rows.reshuffle_warning(config)) is not None:
        yield f"rows of {custom_rows.source_name(config)}: {warning}"


def _task_rows(config: CustomDatasetConfig, frames: "Frames") -> TaskRows:
    label_columns = {name for name in config.columns.also if name == config.columns.label}
    return TaskRows(
        "custom",
        {name: _split_rows(config, frame) for name, frame in frames.items()},
        labels={value: word for word, value in _first_values(config).items()},
        labels_key=(_ROOT, "labels"),
        labels_are_mapping=isinstance(config.labels, dict),
        answer_columns=frozenset({"label", "gold", *label_columns}),
        renamed={config.columns.text: "text", config.columns.label: "label"},
        has_unique_row_names=config.file is not None,
        cut_by_loader=config.splits is not None,
    )


def _split_rows(config: CustomDatasetConfig, frame: "pd.DataFrame") -> SplitRows:
    extra = [name for name in config.columns.also if name in frame]
    frame = frame.rename(columns={_ROW: "id"})
    columns = frame[["id", "text", "label", *extra]]
    return fin_split(list(frame["id"]), columns, list(frame[_VALUE]), extra, config.words, config.aliases)
