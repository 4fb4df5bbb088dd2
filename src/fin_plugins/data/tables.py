"""A user's labelled data as tables of text cells: CSV, TSV, JSON, JSONL, Parquet, XLSX files and Hub data sets."""

import codecs
import csv
import json
import re
import shlex
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.common.errors import FinError, first_line
from fin_plugins.common.validation import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

Columns = dict[str, list[str]]

_DELIMITERS = (",", ";", "\t")
_MAX_CELL = 1 << 30
_HEADER = 1 << 14
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",  # starts with the mark of UTF-16, so it must be tried first
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_QUOTED = re.compile(r'(^|[,;\t])[ ]*"(?:[^"]|"")*+"')
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?(?:\r\n|\r|\n|$)', re.IGNORECASE)
_ENCODING_REMEDY = (
    "save the file as UTF-8 (Excel: CSV UTF-8), or name its encoding, as in `--encoding cp1252` "
    "(in a task file `encoding: cp1252`)"
)


def read_table(path: Path, sheet: str | None = None, encoding: str | None = None) -> "pd.DataFrame":
    """Read a table; row 0 of the frame is the first row of data.

    "NA" and "None" stay text, an empty cell is an empty text, a whole number has no decimal point (pandas and Parquet
    turn integers with a gap into 0.0, 1.0), booleans are `true` or `false`, and nested values stay JSON, for
    `data.nested_cells`.

    Args:
        path: a file; its ending gives the format.
        sheet: sheet of a workbook; None for the only one that has rows.
        encoding: of a text file; None for UTF-8, or what a byte order mark says.

    Raises:
        FinError: the file is missing, of an unknown format, broken, in another encoding, or has no rows; or several
            sheets have rows and none is named.
    """
    import pandas as pd

    try:
        columns = _read_columns(path, sheet, encoding)
    except OSError as error:
        raise FinError(f"{path}: cannot be read ({error.strerror or error})") from error
    except RecursionError as error:
        raise FinError(f"{path}: nested too deeply") from error
    if not columns or not next(iter(columns.values())):
        raise FinError(f"{path}: no rows in it")
    _check_encodable(columns, path)
    return pd.DataFrame(columns, dtype=object)


def read_hub_dataset(
    name: str, folder: Path, config: str | None = None, revision: str | None = None
) -> "dict[str, pd.DataFrame]":
    """Read a Hub data set, or a local folder with the layout of one, every cell as text.

    A label stored as a number with a name is read as the name.

    Args:
        name: `owner/name`; a path if it starts with `./`, `../` or `/`.
        folder: what a path is relative to.
        config: configuration of the data set.
        revision: commit of the data set.

    Returns:
        One frame per split, under the data set's own split names.

    Raises:
        FinError: there is no such data set, no connection, or it cannot be read.
    """
    import datasets
    import pandas as pd

    is_local = name.startswith(("./", "../", "/"))
    path = str(folder / name) if is_local else name
    if is_local and not Path(path).is_dir():
        raise FinError(f"{path}: no such folder")
    try:
        splits = datasets.load_dataset(path, config, revision=revision)
    except Exception as error:  # many types; the first line says what is wrong
        raise FinError(
            f"Hub data set {name}: cannot be loaded ({first_line(error)}): check the name and the connection"
        ) from error
    return {
        str(split): pd.DataFrame({column: _hub_cells(rows, column) for column in rows.column_names}, dtype=object)
        for split, rows in splits.items()
    }


def cell_text(value: Any) -> str:
    """A cell's value as text."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _read_columns(path: Path, sheet: str | None, encoding: str | None) -> Columns:
    """The columns of a file, read according to its ending.

    Raises:
        FinError: the ending is unknown, or a sheet or an encoding is given for a file that has none.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise FinError(f"{path}: unknown table format: save it as {', '.join(ENDINGS)}")
    if not path.is_file():
        raise FinError(f"{path}: no such file" if not path.exists() else f"{path}: a folder; name a file")
    if sheet is not None and ending != ".xlsx":
        raise FinError(f"{path}: sheet {sheet}: only XLSX files have sheets")
    if encoding is not None and ending not in _TEXT_READERS:
        raise FinError(f"{path}: encoding {encoding}: only {', '.join(_TEXT_READERS)} files have one")
    if ending == ".xlsx":
        return _read_xlsx(path, sheet)
    if ending == ".parquet":
        return _read_parquet(path)
    return _TEXT_READERS[ending](_decode(path, encoding), path)


def _read_csv(text: str, path: Path) -> Columns:
    return _from_rows(_parse_delimited(text, path), path)


def _read_tsv(text: str, path: Path) -> Columns:
    return _from_rows(_parse_delimited(text, path, "\t"), path)


def _read_json_lines(text: str, path: Path) -> Columns:
    records = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            records.append(_parse_json(line, f"{path}: line {number}"))
            if not isinstance(records[-1], dict):
                raise FinError(f'{path}: line {number}: not an object, as in {{"text": …, "label": …}}')
    return _from_records(records)


def _read_json(text: str, path: Path) -> Columns:
    records = _parse_json(text, str(path))
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise FinError(f'{path}: must be a list of objects, as in [{{"text": …, "label": …}}, …]')
    return _from_records(records)


_TEXT_READERS: dict[str, Callable[[str, Path], Columns]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_json_lines,
    ".json": _read_json,
}
ENDINGS = (*_TEXT_READERS, ".parquet", ".xlsx")
"""File name endings of the supported formats."""


def _read_parquet(path: Path) -> Columns:
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(path).read()
    except (pyarrow.ArrowException, ValueError) as error:
        raise FinError(f"{path}: not a valid Parquet file ({first_line(error)})") from error
    _check_unique(table.column_names, path)
    return {name: list(map(cell_text, table[name].to_pylist())) for name in table.column_names}


def _read_xlsx(path: Path, sheet: str | None) -> Columns:
    from openpyxl import load_workbook

    try:
        book = load_workbook(path, read_only=True, data_only=True)
        if sheet is None:
            chosen = [tab for tab in book.worksheets if tab.sheet_state == "visible"] or book.worksheets
        else:
            chosen = [tab for tab in book.worksheets if tab.title == sheet]
        titles = [tab.title for tab in book.worksheets]
        sheets = {tab.title: [row for row in _sheet_rows(tab) if any(row)] for tab in chosen}
        book.close()
    except OSError:
        raise
    except Exception as error:  # openpyxl passes on errors of zipfile and of the XML parser
        raise FinError(f"{path}: not a valid XLSX file ({first_line(error)})") from error
    return _from_rows(_choose_sheet(sheets, sheet, titles, path), path)


def _sheet_rows(sheet: Any) -> list[list[str]]:
    """The cells of a sheet, all rows padded to the longest."""
    rows = [list(map(cell_text, row)) for row in sheet.iter_rows(values_only=True)]
    longest = max(map(len, rows), default=0)
    return [row + [""] * (longest - len(row)) for row in rows]


def _choose_sheet(
    sheets: dict[str, list[list[str]]], sheet: str | None, titles: list[str], path: Path
) -> list[list[str]]:
    """The rows of the named sheet, or of the only one that has rows."""
    if sheet is not None and sheet not in sheets:
        raise FinError(f"{path}: no sheet {sheet!r}{did_you_mean(sheet, titles)}; there are {', '.join(titles)}")
    filled = {title: rows for title, rows in sheets.items() if rows}
    if len(filled) > 1:
        counts = ", ".join(f"{title} ({len(rows):,} lines)" for title, rows in filled.items())
        longest = shlex.quote(max(filled, key=lambda title: len(filled[title])))
        raise FinError(
            f"{path}: several sheets have rows: {counts}: name one, as in `--sheet {longest}` "
            f"(in a task file `sheet: {longest}`)"
        )
    return next(iter(filled.values()), [])


def _hub_cells(rows: Any, column: str) -> list[str]:
    names = getattr(rows.features[column], "names", None)
    values = rows.data.column(column).to_pylist()
    if names is None:
        return list(map(cell_text, values))
    # -1 stands for a withheld label, as in the test sets of competitions.
    return ["" if value is None or value < 0 else str(names[value]) for value in values]


def _from_rows(rows: Sequence[Sequence[str]], path: Path) -> Columns:
    """Columns from rows of which the first has the names."""
    if not rows:
        return {}
    names = [name.strip() or f"column {number}" for number, name in enumerate(rows[0], 1)]
    _check_unique(names, path)
    cells = zip(*rows[1:], strict=False) if len(rows) > 1 else ([] for _ in names)
    return dict(zip(names, map(list, cells), strict=True))


def _from_records(records: Sequence[dict[str, Any]]) -> Columns:
    names = dict.fromkeys(name for record in records for name in record)
    return {name: [cell_text(record.get(name)) for record in records] for name in names}


def _check_unique(names: Sequence[str], path: Path) -> None:
    duplicate = next((name for name in names if names.count(name) > 1), None)
    if duplicate is not None:
        raise FinError(f"{path}: two columns are called {duplicate!r}: rename one of them")


def _check_encodable(columns: Columns, path: Path) -> None:
    """Reject lone surrogates, which JSON can express but no file or model can take."""
    for name, cells in columns.items():
        for number, cell in enumerate(cells, 1):
            try:
                cell.encode("utf-8")
            except UnicodeEncodeError as error:
                raise FinError(f"{path}: row {number}, column {name!r}: lone surrogate (\\ud800 to \\udfff)") from error


def _parse_json(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f", line {error.lineno}" if error.lineno > 1 else ""
        raise FinError(f"{place}{where}: invalid JSON ({error.msg} at character {error.colno})") from error
    except (RecursionError, ValueError) as error:  # a number of thousands of digits is a ValueError
        raise FinError(f"{place}: JSON that cannot be parsed ({first_line(error)})") from error


def _decode(path: Path, encoding: str | None) -> str:
    """The text of a file, without a byte order mark.

    Raises:
        FinError: the file has another encoding, or there is no encoding of this name.
    """
    content = path.read_bytes()
    zeros = content.count(0, 0, _HEADER)
    has_mark = content.startswith(tuple(_BYTE_ORDER_MARKS))
    if encoding is None and not has_mark and 3 * zeros > len(content[:_HEADER]):
        raise FinError(f"{path}: seems to be UTF-16 without a byte order mark: {_ENCODING_REMEDY}")
    codec = encoding or next((name for mark, name in _BYTE_ORDER_MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(codec)
    except LookupError as error:
        raise FinError(f"{path}: encoding {encoding}: unknown; known are cp1252, latin-1, utf-16") from error
    except UnicodeError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        line = content.count(b"\n", 0, start) + 1
        raise FinError(f"{path}: line {line}: not {codec.upper()}: {_ENCODING_REMEDY}") from error
    return text.removeprefix("\ufeff")


def _parse_delimited(text: str, path: Path, delimiter: str | None = None) -> list[list[str]]:
    """The rows of a delimited text, without empty lines.

    The delimiter is named by a first line `sep=;`, or is the most frequent one in the first line. A space after a
    delimiter is skipped, so that a quote after it is a quote.

    Args:
        text: the entire text.
        path: of the file, for messages.
        delimiter: None to detect it.

    Raises:
        FinError: a row has another number of cells than the first one, or a quote is missing.
    """
    csv.field_size_limit(_MAX_CELL)
    skipped_lines = 0
    if separator_line := _SEPARATOR_LINE.match(text):
        text, skipped_lines, delimiter = text[separator_line.end() :], 1, separator_line[1]
    reader = csv.reader(
        StringIO(text, newline=""), delimiter=delimiter or _detect_delimiter(text), strict=True, skipinitialspace=True
    )
    rows: list[list[str]] = []
    try:
        for row in reader:
            if rows and row and len(row) != len(rows[0]):
                raise FinError(
                    f"{path}: line {reader.line_num + skipped_lines}: {len(row)} cells where the first line has "
                    f"{len(rows[0])}: put text that contains the delimiter or a line break in double quotes"
                )
            rows += [row] if row else []
    except csv.Error as error:
        line = reader.line_num + skipped_lines
        raise FinError(f"{path}: line {line}: broken ({error}): is a double quote missing?") from error
    return rows


def _detect_delimiter(text: str) -> str:
    """The most frequent delimiter of the first line outside quotes."""
    header = _QUOTED.sub(r"\1", text[:_HEADER]).split("\n", 1)[0]
    return max(_DELIMITERS, key=header.count)
