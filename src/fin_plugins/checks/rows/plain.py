"""lm-eval's own way to name local files: `dataset_path: csv` and `dataset_kwargs: {data_files: …}`.

lm-eval reads such paths relative to the working directory.
"""

from functools import lru_cache
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.checks.model import TaskFile
from fin_plugins.checks.rows.model import SAMPLE, Reading, Rows, Split
from fin_plugins.checks.rows.read import records, stamped
from fin_plugins.checks.rows.rendering import variables
from fin_plugins.common.errors import FinError
from fin_plugins.common.yaml_nodes import Key

if TYPE_CHECKING:
    import pandas as pd

_KINDS = {"csv": (".csv", ".tsv"), "json": (".json", ".jsonl"), "parquet": (".parquet",)}
_SEED = 42


def read_plain(file: TaskFile, settings: dict[str, Any]) -> Reading:
    """The rows of a task that names local files; a note for every other task."""
    kind = file.data.get("dataset_path")
    if not isinstance(kind, str):
        return Reading()
    if kind not in _KINDS:
        return Reading(note=f"rows of {file.name} not looked at: the hub data set {kind} is not downloaded for a check")
    files = _files(settings.get("data_files"))
    if files is None or set(settings) != {"data_files"} or "process_docs" in file.data:
        return Reading(note=f"rows of {file.name} not looked at: read or changed in a way that a check does not follow")
    problems, tables = [], {}
    for split, path in files.items():
        try:
            tables[split] = _table(kind, path, stamped(Path(path)))
        except (FinError, OSError, ValueError) as error:
            problems.append(("D01", _key(settings, split), f"{error} (relative to the working directory)"))
    return Reading(None if problems else _rows(file, tables), problems)


def _files(named: Any) -> dict[str, str] | None:
    """Path by split; None where it is a list of several, a pattern or an address."""
    if isinstance(named, str):
        named = {"train": named}  # so does `datasets`
    if not isinstance(named, dict):
        return None
    single = {split: path[0] if isinstance(path, list) and len(path) == 1 else path for split, path in named.items()}
    if not all(isinstance(path, str) and "://" not in path and "*" not in path for path in single.values()):
        return None
    return {str(split): str(path) for split, path in single.items()}


def _key(settings: dict[str, Any], split: str) -> Key:
    named = settings["data_files"]
    return ("dataset_kwargs", "data_files", split) if isinstance(named, dict) else ("dataset_kwargs", "data_files")


@lru_cache(maxsize=8)
def _table(kind: str, path: str, _stamp: object) -> "pd.DataFrame":
    """Cells keep their type, as in lm-eval, for templates may count with them.

    Raises:
        FinError: it cannot be read.
    """
    from fin_plugins.data.tables import read_table

    if not path.endswith(_KINDS[kind]):
        raise FinError(f"{path}: is no {kind} file by its ending")
    table = read_table(Path(path))
    return _typed(table, kind, path)


def _typed(table: "pd.DataFrame", kind: str, path: str) -> "pd.DataFrame":
    import pandas as pd

    try:
        if kind == "csv":
            return pd.read_csv(path, sep="\t" if path.endswith(".tsv") else ",")
        if kind == "json":
            return pd.read_json(path, lines=path.endswith(".jsonl"), dtype=False, convert_dates=False)
        return pd.read_parquet(path)
    except (ValueError, ArithmeticError, AttributeError, OSError):
        return table


def _rows(file: TaskFile, tables: "dict[str, pd.DataFrame]") -> Rows:
    columns = {str(name) for table in tables.values() for name in table.columns}
    labels, label = _labels(file.data, columns)
    if labels and all(_is_number(value) for table in tables.values() if label in table for value in table[label]):
        labels = {str(number): choice for number, choice in enumerate(labels)}
    text = _only_column(file.data.get("doc_to_text"), columns)
    splits = {name: _split(table, text, label) for name, table in tables.items()}
    telling = frozenset({label} if label else ())
    return Rows("plain", splits, labels, ("doc_to_choice",), telling=telling, one_table=len(splits) == 1)


def _labels(task: dict[str, Any], columns: set[str]) -> tuple[dict[str, str] | None, str | None]:
    """The label set by value in the data, and the column that holds the label; None where they cannot be told."""
    label = _only_column(task.get("doc_to_target"), columns)
    choices = task.get("doc_to_choice")
    if task.get("output_type") != "multiple_choice" or label is None:
        return None, None
    if label != task.get("doc_to_target") or not isinstance(choices, list) or not choices:
        return None, label
    if not all(isinstance(choice, str) for choice in choices):
        return None, label
    return {choice: choice for choice in choices}, label


def _is_number(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _only_column(template: Any, columns: set[str]) -> str | None:
    if not isinstance(template, str):
        return None
    if template in columns:
        return template
    named = variables(template) & columns
    return next(iter(named)) if len(named) == 1 else None


def _split(table: "pd.DataFrame", text: str | None, label: str | None) -> Split:
    names = [f"{number:,}" for number in range(1, len(table) + 1)]
    values = [str(value) for value in table[label]] if label in table else None
    texts = [str(value) for value in table[text]] if text in table else None
    known = table.sample(SAMPLE, random_state=_SEED) if len(table) > SAMPLE else table
    return Split(names, values, texts, [()] * len(table), records(known.astype(object)))
