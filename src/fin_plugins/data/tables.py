"""One table from a file that a user has: CSV, TSV, JSON, JSONL, Parquet or XLSX, every cell as text."""

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.errors import FinError

if TYPE_CHECKING:
    import pandas as pd

_DELIMITERS = (",", ";", "\t")
_LONGEST_CELL = 1 << 30

Columns = dict[str, list[str]]


def read_table(path: Path) -> "pd.DataFrame":
    """Read a table; row 0 of the frame is the first row of the data.

    "NA" and "None" stay text, an empty cell is an empty text, a whole number has no decimal point (a column of whole
    numbers with a gap in it comes out of pandas and Parquet as 0.0, 1.0), and yes or no is `true` or `false`.

    Args:
        path: a file; its ending says what it is.

    Raises:
        FinError: there is no such file, it is of another kind, broken, not UTF-8, or has no rows.
    """
    import pandas as pd

    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise FinError(f"{path}: unknown kind of table: save it as {', '.join(ENDINGS)}")
    if not path.is_file():
        raise FinError(f"{path}: no such file" if not path.exists() else f"{path}: a folder; name a file")
    try:
        columns = reader(path)
    except OSError as error:
        raise FinError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not columns or not next(iter(columns.values())):
        raise FinError(f"{path}: no rows in it")
    _encodable(columns, path)
    return pd.DataFrame(columns, dtype=object)


def as_text(value: Any) -> str:
    """A cell as text."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _csv(path: Path) -> Columns:
    text = _decoded(path)
    header = text.split("\n", 1)[0]
    return _delimited(text, max(_DELIMITERS, key=header.count), path)


def _tsv(path: Path) -> Columns:
    return _delimited(_decoded(path), "\t", path)


def _delimited(text: str, delimiter: str, path: Path) -> Columns:
    csv.field_size_limit(_LONGEST_CELL)
    lines = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    try:
        for row in lines:
            if rows and row and len(row) != len(rows[0]):
                raise FinError(
                    f"{path}: line {lines.line_num}: {len(row)} cells where the first line has {len(rows[0])}: "
                    "put a text that holds the separator or a line break in double quotes"
                )
            rows += [row] if row else []
    except csv.Error as error:
        raise FinError(f"{path}: line {lines.line_num}: broken ({error}): is a double quote missing?") from error
    return _by_column(rows, path)


def _json_lines(path: Path) -> Columns:
    records = []
    for number, line in enumerate(_decoded(path).split("\n"), 1):
        if line.strip():
            records.append(_parsed(line, f"{path}: line {number}"))
            if not isinstance(records[-1], dict):
                raise FinError(f'{path}: line {number}: not an object, as in {{"text": …, "label": …}}')
    return _of_records(records)


def _json(path: Path) -> Columns:
    records = _parsed(_decoded(path), str(path))
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise FinError(f'{path}: must be a list of objects, as in [{{"text": …, "label": …}}, …]')
    return _of_records(records)


def _parquet(path: Path) -> Columns:
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(path).read()
    except (pyarrow.ArrowException, ValueError) as error:
        raise FinError(f"{path}: no Parquet file, or a broken one ({_first_line(error)})") from error
    _told_apart(table.column_names, path)
    return {name: list(map(as_text, table[name].to_pylist())) for name in table.column_names}


def _xlsx(path: Path) -> Columns:
    from openpyxl import load_workbook

    try:
        book = load_workbook(path, read_only=True, data_only=True)
        sheet = next(iter(book.worksheets))
        rows = [list(map(as_text, row)) for row in sheet.iter_rows(values_only=True)]
        book.close()
    except OSError:
        raise
    except Exception as error:  # openpyxl lets those of zipfile, of the XML parser and its own through
        raise FinError(f"{path}: no XLSX file, or a broken one ({_first_line(error)})") from error
    return _by_column([row for row in rows if any(row)], path)


def _by_column(rows: Sequence[Sequence[str]], path: Path) -> Columns:
    if not rows:
        return {}
    names = [name.strip() or f"column {number}" for number, name in enumerate(rows[0], 1)]
    _told_apart(names, path)
    cells = zip(*rows[1:], strict=False) if len(rows) > 1 else ([] for _ in names)
    return dict(zip(names, map(list, cells), strict=True))


def _of_records(records: Sequence[dict[str, Any]]) -> Columns:
    names = dict.fromkeys(name for record in records for name in record)
    return {name: [as_text(record.get(name)) for record in records] for name in names}


def _told_apart(names: Sequence[str], path: Path) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise FinError(f"{path}: two columns are called {twice!r}: give each its own name")


def _decoded(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FinError(f"{path}: line {line}: not UTF-8: save the file as UTF-8 (Excel: CSV UTF-8)") from error


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f", line {error.lineno}" if error.lineno > 1 else ""
        raise FinError(f"{place}{where}: no JSON ({error.msg} at character {error.colno})") from error
    except (RecursionError, ValueError) as error:  # a number of thousands of digits is a ValueError
        raise FinError(f"{place}: JSON that nobody would write ({_first_line(error)})") from error


def _encodable(columns: Columns, path: Path) -> None:
    """JSON can write half of a character pair, which no file or model can take."""
    for name, cells in columns.items():
        for number, cell in enumerate(cells, 1):
            if not _is_encodable(cell):
                raise FinError(f"{path}: row {number}, column {name!r}: half a character (\\ud800 to \\udfff)")


def _is_encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _first_line(error: Exception) -> str:
    lines: Iterable[str] = str(error).splitlines()
    return next(iter(lines), type(error).__name__)


_READERS: dict[str, Callable[[Path], Columns]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _json_lines,
    ".json": _json,
    ".parquet": _parquet,
    ".xlsx": _xlsx,
}
ENDINGS = tuple(_READERS)
"""What a table's file may end in."""
