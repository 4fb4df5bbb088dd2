"""Reads the rows of a task file as its loader or lm-eval would; a task and its generative variant share one reading."""

import os
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.checks.task_file import BUNDLED_ROWS_LOADER, CUSTOM_ROWS_LOADER, TaskFile
from fin_plugins.checks.task_rows import (
    RowProblem,
    RowSource,
    RowsResult,
    SplitRows,
    TaskRows,
    file_stamp,
    fin_split,
    sample_rows,
    to_records,
)
from fin_plugins.checks.template_sandbox import variables
from fin_plugins.common.errors import FinError
from fin_plugins.common.yaml_nodes import Function, Key
from fin_plugins.data import split_guard
from fin_plugins.tasks.task_config import CustomDatasetConfig

if TYPE_CHECKING:
    import pandas as pd

_FILE_SUFFIXES = {"csv": (".csv", ".tsv"), "json": (".json", ".jsonl"), "parquet": (".parquet",)}


def load_task_rows(file: TaskFile) -> RowsResult:
    """Read a task's rows, or say why there are none.

    Raises:
        FinError: `FIN_DATA` has an unknown value.
    """
    loader = file.data.get("custom_dataset")
    if not isinstance(loader, Function):
        return _local_rows(file)
    if loader == BUNDLED_ROWS_LOADER:
        return _bundled_rows(file)
    if loader == CUSTOM_ROWS_LOADER:
        return _custom_rows(file)
    return RowsResult(note=f"rows of {file.name} not checked: they come from {loader}")


def _custom_rows(file: TaskFile) -> RowsResult:
    from pydantic import ValidationError

    from fin_plugins.checks.custom_rows import read_custom_rows

    try:
        config = CustomDatasetConfig.model_validate(file.dataset_kwargs)
    except ValidationError:
        return RowsResult()  # reported by the rules on keys
    return read_custom_rows(config, file.path.parent)


def _bundled_rows(file: TaskFile) -> RowsResult:
    name, labels = file.card.get("rows"), file.dataset_kwargs.get("labels")
    if not isinstance(name, str) or not isinstance(labels, list) or not _are_labels(labels):
        return RowsResult()  # reported by the rules on keys
    from fin_plugins.data.sources import datasets

    if name.removeprefix("fin_") not in datasets():
        message = f"there is no bundled data set `{name}`; there are {', '.join(datasets())}"
        return RowsResult(problems=[RowProblem("D01", ("metadata", "fin", "rows"), message)])
    state = (os.environ.get("FIN_DATA"), os.environ.get("FIN_DATA_DIR"), split_guard.is_blocked())
    return _read_bundled(name, tuple(labels), _hashable(file.dataset_kwargs.get("aliases")), state)


@lru_cache(maxsize=4)
def _read_bundled(name: str, labels: tuple[str, ...], aliases: Any, _state: Any) -> RowsResult:
    from fin_plugins.data import dataset_store
    from fin_plugins.data.dataset_rows import data_mode, read_rows
    from fin_plugins.data.sources import find

    is_available = data_mode() == "sample" or dataset_store.current_manifest(find(name)) is not None
    try:
        data = read_rows(name)
    except FinError as error:
        if is_available:
            return RowsResult(problems=[RowProblem("D01", ("metadata", "fin", "rows"), str(error))])
        return RowsResult(note=f"rows not checked: {error}")
    splits = {}
    for split, frame in data.splits.items():
        extra = [column for column in ("e1", "e2") if column in frame]
        splits[split] = fin_split(
            list(map(str, frame["id"])), frame, list(frame["label"]), extra, labels, dict(aliases)
        )
    source: RowSource = "sample" if data.data_mode == "sample" else "bundled"
    words, key = {label: label for label in labels}, ("dataset_kwargs", "labels")
    return RowsResult(TaskRows(source, splits, words, key, answer_columns=frozenset({"label", "gold"})))


def _are_labels(labels: list[Any]) -> bool:
    return bool(labels) and all(isinstance(label, str) and label for label in labels)


def _hashable(aliases: Any) -> Any:
    if not isinstance(aliases, dict):
        return ()
    items = ((label, spellings) for label, spellings in aliases.items() if isinstance(spellings, list))
    return tuple((label, tuple(map(str, spellings))) for label, spellings in items)


def _local_rows(file: TaskFile) -> RowsResult:
    """The rows of a plain lm-eval task that names local files under `data_files`; a note for any other task.

    lm-eval reads these paths relative to the working directory.
    """
    kind, settings = file.data.get("dataset_path"), file.dataset_kwargs
    if not isinstance(kind, str):
        return RowsResult()
    if kind not in _FILE_SUFFIXES:
        return RowsResult(note=f"rows of {file.name} not checked: the check does not download the hub data set {kind}")
    files = _data_files(settings.get("data_files"))
    if files is None or set(settings) != {"data_files"} or "process_docs" in file.data:
        return RowsResult(note=f"rows of {file.name} not checked: the check cannot follow how they are loaded")
    problems, tables = [], {}
    for split, path in files.items():
        try:
            tables[split] = _read_local(kind, path, file_stamp(Path(path)))
        except (FinError, OSError, ValueError) as error:
            key: Key = ("dataset_kwargs", "data_files")
            key = (*key, split) if isinstance(settings["data_files"], dict) else key
            problems.append(RowProblem("D01", key, f"{error} (relative to the working directory)"))
    return RowsResult(None if problems else _local_task_rows(file, tables), problems)


def _data_files(value: Any) -> dict[str, str] | None:
    """Path by split; None for a list of several files, a pattern or an address."""
    if isinstance(value, str):
        value = {"train": value}  # as `datasets` does
    if not isinstance(value, dict):
        return None
    single = {split: path[0] if isinstance(path, list) and len(path) == 1 else path for split, path in value.items()}
    if not all(isinstance(path, str) and "://" not in path and "*" not in path for path in single.values()):
        return None
    return {str(split): str(path) for split, path in single.items()}


@lru_cache(maxsize=8)
def _read_local(kind: str, path: str, _stamp: object) -> "pd.DataFrame":
    """Read a table; cells keep their types as in lm-eval, because templates may compute with them.

    Raises:
        FinError: it cannot be read.
    """
    import pandas as pd

    from fin_plugins.data.tables import read_table

    if not path.endswith(_FILE_SUFFIXES[kind]):
        raise FinError(f"{path}: its suffix is not that of a {kind} file")
    table = read_table(Path(path))
    try:
        if kind == "csv":
            return pd.read_csv(path, sep="\t" if path.endswith(".tsv") else ",")
        if kind == "json":
            return pd.read_json(path, lines=path.endswith(".jsonl"), dtype=False, convert_dates=False)
        return pd.read_parquet(path)
    except (ValueError, ArithmeticError, AttributeError, OSError):
        return table


def _local_task_rows(file: TaskFile, tables: "dict[str, pd.DataFrame]") -> TaskRows:
    columns = {str(name) for table in tables.values() for name in table.columns}
    labels, label_column = _label_set(file.data, columns)
    if labels and all(_is_number(value) for table in tables.values() for value in table.get(label_column, ())):
        labels = {str(number): choice for number, choice in enumerate(labels)}
    text_column = _only_column(file.data.get("doc_to_text"), columns)
    return TaskRows(
        "local",
        {name: _local_split(table, text_column, label_column) for name, table in tables.items()},
        labels,
        ("doc_to_choice",),
        answer_columns=frozenset({label_column} if label_column else ()),
        has_unique_row_names=len(tables) == 1,
    )


def _label_set(task: dict[str, Any], columns: set[str]) -> tuple[dict[str, str] | None, str | None]:
    """The labels by value in the data, and the column that holds the label; None if unknown."""
    target, choices = task.get("doc_to_target"), task.get("doc_to_choice")
    column = _only_column(target, columns)
    if task.get("output_type") != "multiple_choice" or column is None:
        return None, None
    if column != target or not isinstance(choices, list) or not choices:
        return None, column
    if not all(isinstance(choice, str) for choice in choices):
        return None, column
    return {choice: choice for choice in choices}, column


def _is_number(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _only_column(template: Any, columns: set[str]) -> str | None:
    """The only column that a template shows."""
    if not isinstance(template, str):
        return None
    if template in columns:
        return template
    candidates = variables(template) & columns
    return next(iter(candidates)) if len(candidates) == 1 else None


def _local_split(table: "pd.DataFrame", text_column: str | None, label_column: str | None) -> SplitRows:
    names = [f"{number:,}" for number in range(1, len(table) + 1)]
    values = [str(value) for value in table[label_column]] if label_column in table else None
    texts = [str(value) for value in table[text_column]] if text_column in table else None
    return SplitRows(names, values, texts, [()] * len(table), to_records(sample_rows(table).astype(object)))
