"""One table from a file that a user has: CSV, TSV, JSON, JSONL, Parquet or XLSX, every cell as text."""

import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.common.errors import FinError, first_line
from fin_plugins.common.validation import did_you_mean
from fin_plugins.data.delimited import decoded, delimited

if TYPE_CHECKING:
    import pandas as pd

Columns = dict[str, list[str]]


def read_table(path: Path, sheet: str | None = None, encoding: str | None = None) -> "pd.DataFrame":
    """Read a table; row 0 of the frame is the first row of the data.

    "NA" and "None" stay text, an empty cell is an empty text, a whole number has no decimal point (a column of whole
    numbers with a gap in it comes out of pandas and Parquet as 0.0, 1.0), yes or no is `true` or `false`, and what is
    nested stays JSON, which `data.nested` looks into.

    Args:
        path: a file; its ending says what it is.
        sheet: the sheet of a workbook; None for the only one that has rows.
        encoding: of a text file; None for UTF-8, or UTF-16 by its mark.

    Raises:
        FinError: there is no such file, it is of another kind, broken, in another encoding, or has no rows; or the
            workbook has rows in several sheets and none of them is named.
    """
    import pandas as pd

    try:
        columns = _columns(path, sheet, encoding)
    except OSError as error:
        raise FinError(f"{path}: cannot be read ({error.strerror or error})") from error
    except RecursionError as error:
        raise FinError(f"{path}: nested deeper than anybody would write") from error
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


def _csv(path: Path, encoding: str | None) -> Columns:
    return _by_column(delimited(decoded(path, encoding), path), path)


def _tsv(path: Path, encoding: str | None) -> Columns:
    return _by_column(delimited(decoded(path, encoding), path, "\t"), path)


def _json_lines(path: Path, encoding: str | None) -> Columns:
    records = []
    for number, line in enumerate(decoded(path, encoding).split("\n"), 1):
        if line.strip():
            records.append(_parsed(line, f"{path}: line {number}"))
            if not isinstance(records[-1], dict):
                raise FinError(f'{path}: line {number}: not an object, as in {{"text": …, "label": …}}')
    return _of_records(records)


def _json(path: Path, encoding: str | None) -> Columns:
    records = _parsed(decoded(path, encoding), str(path))
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise FinError(f'{path}: must be a list of objects, as in [{{"text": …, "label": …}}, …]')
    return _of_records(records)


def _parquet(path: Path) -> Columns:
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(path).read()
    except (pyarrow.ArrowException, ValueError) as error:
        raise FinError(f"{path}: no Parquet file, or a broken one ({first_line(error)})") from error
    _told_apart(table.column_names, path)
    return {name: list(map(as_text, table[name].to_pylist())) for name in table.column_names}


def _xlsx(path: Path, sheet: str | None) -> Columns:
    from openpyxl import load_workbook

    try:
        book = load_workbook(path, read_only=True, data_only=True)
        shown = [one for one in book.worksheets if one.sheet_state == "visible"] or book.worksheets
        wanted = shown if sheet is None else [one for one in book.worksheets if one.title == sheet]
        titles = [one.title for one in book.worksheets]
        sheets = {one.title: [row for row in _sheet_rows(one) if any(row)] for one in wanted}
        book.close()
    except OSError:
        raise
    except Exception as error:  # openpyxl lets those of zipfile, of the XML parser and its own through
        raise FinError(f"{path}: no XLSX file, or a broken one ({first_line(error)})") from error
    return _by_column(_chosen(sheets, sheet, titles, path), path)


def _sheet_rows(sheet: Any) -> list[list[str]]:
    """The cells of a sheet, every row as long as the longest."""
    rows = [list(map(as_text, row)) for row in sheet.iter_rows(values_only=True)]
    longest = max(map(len, rows), default=0)
    return [row + [""] * (longest - len(row)) for row in rows]


def _chosen(sheets: dict[str, list[list[str]]], sheet: str | None, titles: list[str], path: Path) -> list[list[str]]:
    """The rows of the sheet that is named, else of the only one that has rows."""
    if sheet is not None and sheet not in sheets:
        raise FinError(f"{path}: no sheet {sheet!r}{did_you_mean(sheet, titles)}; there are {', '.join(titles)}")
    filled = {title: rows for title, rows in sheets.items() if rows}
    if len(filled) > 1:
        counts = ", ".join(f"{title} ({len(rows):,} lines)" for title, rows in filled.items())
        longest = shlex.quote(max(filled, key=lambda title: len(filled[title])))
        raise FinError(
            f"{path}: several sheets have rows: {counts}: say which, as in `--sheet {longest}` "
            f"(in a task file `sheet: {longest}`)"
        )
    return next(iter(filled.values()), [])


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


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f", line {error.lineno}" if error.lineno > 1 else ""
        raise FinError(f"{place}{where}: no JSON ({error.msg} at character {error.colno})") from error
    except (RecursionError, ValueError) as error:  # a number of thousands of digits is a ValueError
        raise FinError(f"{place}: JSON that nobody would write ({first_line(error)})") from error


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


def _columns(path: Path, sheet: str | None, encoding: str | None) -> Columns:
    """The columns of a file, by its ending.

    Raises:
        FinError: the ending is none that is known, or a sheet or an encoding is named for a file that has none.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise FinError(f"{path}: unknown kind of table: save it as {', '.join(ENDINGS)}")
    if not path.is_file():
        raise FinError(f"{path}: no such file" if not path.exists() else f"{path}: a folder; name a file")
    if sheet is not None and ending != ".xlsx":
        raise FinError(f"{path}: sheet {sheet}: only XLSX files have sheets")
    if encoding is not None and ending not in _OF_TEXT:
        raise FinError(f"{path}: encoding {encoding}: only {', '.join(_OF_TEXT)} files have one")
    if ending == ".xlsx":
        return _xlsx(path, sheet)
    return _parquet(path) if ending == ".parquet" else _OF_TEXT[ending](path, encoding)


_OF_TEXT: dict[str, Callable[[Path, str | None], Columns]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _json_lines,
    ".json": _json,
}
ENDINGS = (*_OF_TEXT, ".parquet", ".xlsx")
"""What a table's file may end in."""
