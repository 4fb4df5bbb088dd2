"""`answers.parquet`: the exported results of any number of runs, without any text of a document.

One row per run, task and document, in the order of the runs' names and, within a task, of its documents:

- `run`: `<model>/results_<stamp>.json`
- `task`: lm-eval's task name
- `document`: lm-eval's `doc_hash`, a SHA-256 hash, with `#2`, `#3` … appended to repeated documents
- `gold`: the correct label
- `answer`: a label; `(missing)` or `(ambiguous)` for a reply that names no or several labels
- `loglikelihoods`: reserved for one value per label, in the order of the label set; null so far

The file's key-value metadata has, under `fin_board`, the JSON `{"format": 2, "runs": {run: result}}`. A result is what
`fin_plugins.board.results_export` keeps of a result file; `configs.<task>.labels` in it is the task's label set.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from numpy.typing import NDArray

from fin_plugins.board.board_data import Documents
from fin_plugins.board.reading.json_utils import MAX_LABELS, UnusableFile
from fin_plugins.common.errors import FinError
from fin_plugins.common.foreign_files import UnreadableFile, parse_json, read_bytes
from fin_plugins.tasks.label_parser import AMBIGUOUS, MISSING

ANSWERS_FILE = "answers.parquet"
EXPORT_KEY = "fin_board"
"""Key of the metadata, and in each result of the display names and settings."""
MAX_FILE_BYTES = 256 << 20
"""Limit of the file, more than two million answers."""
MAX_ROWS = 8_000_000
"""Limit of the rows: a few bytes can stand for any number of equal ones."""
MAX_COLUMN_BYTES = 1 << 30
"""Limit of all columns, decompressed."""
_FORMAT = 2
_MAX_NAME = 300
_TEXT_COLUMNS = ["run", "task", "document", "gold", "answer"]
_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in _TEXT_COLUMNS),
        pa.field("loglikelihoods", pa.list_(pa.float32())),
    ]
)
_HASH = re.compile(r"[0-9a-f]{64}(#[0-9]{1,9})?")
_NO_LABEL = {MISSING: "(missing)", AMBIGUOUS: "(ambiguous)"}


@dataclass(frozen=True)
class AnswerRows:
    """The rows of one task in one run: hashes, gold labels and answers, none of them checked."""

    documents: tuple[str, ...]
    gold: tuple[str, ...]
    answers: tuple[str, ...]


@dataclass(frozen=True)
class ExportedRun:
    """One run in an export.

    Attributes:
        result: the part of the result file that was exported.
        answers: rows by task.
    """

    result: dict[str, Any]
    answers: dict[str, AnswerRows]


def encode_answers(documents: Documents, labels: tuple[str, ...]) -> AnswerRows:
    """The rows of a task, which can only hold hashes and labels.

    Raises:
        FinError: a hash does not look like one, or labels could be confused with each other or with a missing answer.
    """
    if set(labels) & set(_NO_LABEL.values()) or len(set(labels)) < len(labels):
        raise FinError(f"labels {labels}: two are equal, or one is {' or '.join(_NO_LABEL.values())}")
    for document in documents.hashes:
        if not _HASH.fullmatch(document):
            raise FinError(f"{document[:80]!r} is not a document hash: lm-eval writes 64 hexadecimal digits")
    texts = dict(enumerate(labels)) | _NO_LABEL
    gold, answers = (tuple(texts[int(code)] for code in codes) for codes in (documents.gold, documents.answers))
    return AnswerRows(documents.hashes, gold, answers)


def decode_answers(rows: AnswerRows, labels: tuple[str, ...], n: int | None) -> Documents:
    """The documents of a task with this label set.

    Args:
        rows: what the file holds.
        labels: label set.
        n: number of documents that were scored.

    Raises:
        UnusableFile: there are fewer or more, one occurs twice, or a value is no hash or label of this task.
    """
    if len(labels) > MAX_LABELS:
        raise UnusableFile(f"its task has {len(labels):,} labels, more than {MAX_LABELS:,}")
    codes = {label: code for code, label in enumerate(labels)}
    answer_codes = codes | {text: code for code, text in _NO_LABEL.items()}
    for number, (document, gold, answer) in enumerate(zip(rows.documents, rows.gold, rows.answers, strict=True), 1):
        if not _HASH.fullmatch(document) or gold not in codes or answer not in answer_codes:
            raise UnusableFile(f"answer {number} is not a hash, a gold label and an answer of this task")
    if len(rows.documents) != n:
        raise UnusableFile(f"it has {len(rows.documents)} of {n} documents")
    if len(set(rows.documents)) != len(rows.documents):
        raise UnusableFile("a document occurs twice in it")
    return Documents(
        rows.documents,
        np.array([codes[label] for label in rows.gold], dtype=np.int64),
        np.array([answer_codes[label] for label in rows.answers], dtype=np.int64),
    )


def format_export(runs: Mapping[str, ExportedRun]) -> bytes:
    """The content of the file; the same results give the same bytes with the same version of pyarrow."""
    columns: dict[str, list[str]] = {name: [] for name in _TEXT_COLUMNS}
    for name in sorted(runs):
        for task, rows in runs[name].answers.items():
            columns["run"] += [name] * len(rows.documents)
            columns["task"] += [task] * len(rows.documents)
            columns["document"] += rows.documents
            columns["gold"] += rows.gold
            columns["answer"] += rows.answers
    count = len(columns["run"])
    table = pa.table({**columns, "loglikelihoods": pa.nulls(count, pa.list_(pa.float32()))}, schema=_SCHEMA)
    metadata = {"format": _FORMAT, "runs": {name: runs[name].result for name in sorted(runs)}}
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink, _SCHEMA, compression="zstd", compression_level=9, write_statistics=False, store_schema=False
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({EXPORT_KEY: json.dumps(metadata)})
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def read_export(file: Path) -> tuple[dict[str, ExportedRun], list[str]]:
    """Read an exported file.

    Returns:
        Runs by name, and a message for each part that cannot be used.

    Raises:
        UnusableFile: it is damaged, too large, not Parquet, or has other columns or metadata than an export.
    """
    try:
        content = read_bytes(file, MAX_FILE_BYTES)
    except UnreadableFile as error:
        raise UnusableFile(error.reason) from error
    try:
        results, table = _read_table(content)
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError, MemoryError, RecursionError) as error:
        reason = str(error).strip().partition("\n")[0][:120]
        raise UnusableFile(f"is damaged or not a Parquet file ({reason}); export the results again") from error
    answers = _rows_by_run(table)
    usable = {name for name, result in results.items() if isinstance(result, dict) and _is_name(name)}
    messages = []
    if broken := results.keys() - usable:
        messages.append(f"its metadata has runs without a result or a proper name ({_listed(broken)})")
    if orphans := answers.keys() - results.keys():
        messages.append(f"has answers of runs that its metadata does not name ({_listed(orphans)})")
    return {name: ExportedRun(results[name], answers.get(name, {})) for name in results if name in usable}, messages


def _read_table(content: bytes) -> tuple[dict[str, Any], pa.Table]:
    """Results by run, and the rows; text columns stay dictionaries, so that a long text repeated takes no memory."""
    file = pq.ParquetFile(pa.BufferReader(content))
    results = _parse_metadata(file.metadata)
    columns = file.schema_arrow.names
    if missing := [name for name in _TEXT_COLUMNS if columns.count(name) != 1]:
        raise UnusableFile(f"it has no column {missing[0]}, or several; columns are {', '.join(_TEXT_COLUMNS)}")
    if wrong := [name for name in _TEXT_COLUMNS if not _is_text(file.schema_arrow.field(name).type)]:
        raise UnusableFile(f"its column {wrong[0]} is not text")
    _check_size(file.metadata)
    file = pq.ParquetFile(pa.BufferReader(content), read_dictionary=_TEXT_COLUMNS)
    table = file.read(columns=_TEXT_COLUMNS, use_threads=False)
    table.validate(full=True)
    if empty := [name for name in _TEXT_COLUMNS if table.column(name).null_count]:
        raise UnusableFile(f"its column {empty[0]} has empty values")
    return results, table


def _is_text(column: pa.DataType) -> bool:
    return bool(pa.types.is_string(column.value_type if pa.types.is_dictionary(column) else column))


def _parse_metadata(metadata: pq.FileMetaData) -> dict[str, Any]:
    text = (metadata.metadata or {}).get(EXPORT_KEY.encode())
    if text is None:
        raise UnusableFile(f"its metadata has no {EXPORT_KEY}, so `fin board export` did not write it")
    try:
        value = parse_json(text, EXPORT_KEY, replace_surrogates=True)
    except UnreadableFile as error:
        raise UnusableFile(f"its metadata is unusable ({EXPORT_KEY}: {error.reason})") from error
    runs = value.get("runs") if isinstance(value, dict) else None
    if not isinstance(runs, dict) or not runs:
        raise UnusableFile(f"its metadata has no runs ({EXPORT_KEY}.runs)")
    if value.get("format") != _FORMAT:
        raise UnusableFile(f"its format is {str(value.get('format'))[:20]}, this version reads {_FORMAT}")
    return runs


def _check_size(metadata: pq.FileMetaData) -> None:
    # pyarrow aborts the process when it is asked for the metadata of a column in a damaged file.
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    rows = sum(group.num_rows for group in groups)
    if rows > MAX_ROWS:
        raise UnusableFile(f"it has {rows:,} rows, more than the limit of {MAX_ROWS:,}")
    if sum(group.total_byte_size for group in groups) > MAX_COLUMN_BYTES:
        raise UnusableFile(f"it is larger than {MAX_COLUMN_BYTES >> 20} MiB when decompressed")


def _rows_by_run(table: pa.Table) -> dict[str, dict[str, AnswerRows]]:
    """Rows by run and task."""
    table = table.unify_dictionaries().combine_chunks()
    arrays = {name: _as_dictionary(table.column(name)) for name in _TEXT_COLUMNS}
    codes = {name: array.indices.to_numpy(zero_copy_only=False) for name, array in arrays.items()}
    texts = {name: array.dictionary.to_pylist() for name, array in arrays.items()}
    # A damaged dictionary may hold a text twice.
    runs_of_rows, tasks_of_rows = (_first_codes(texts[name])[codes[name]] for name in ("run", "task"))
    groups = runs_of_rows * (len(texts["task"]) + 1) + tasks_of_rows
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    answers: dict[str, dict[str, AnswerRows]] = {}
    for rows in np.split(order, starts[1:]) if len(order) else []:
        run, task = (texts[name][codes[name][rows[0]]] for name in ("run", "task"))
        columns = (
            tuple(texts[name][code] for code in codes[name][rows].tolist()) for name in ("document", "gold", "answer")
        )
        answers.setdefault(run, {})[task] = AnswerRows(*columns)
    return answers


def _first_codes(texts: Sequence[str]) -> NDArray[np.int64]:
    first = {text: code for code, text in reversed(list(enumerate(texts)))}
    return np.array([first[text] for text in texts], dtype=np.int64)


def _as_dictionary(column: pa.ChunkedArray) -> pa.DictionaryArray:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), pa.array([], pa.string()))


def _is_name(name: str) -> bool:
    return 0 < len(name) <= _MAX_NAME and name.isprintable()


def _listed(names: Iterable[str]) -> str:
    names = [ascii(name[:80]) for name in sorted(names)]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
