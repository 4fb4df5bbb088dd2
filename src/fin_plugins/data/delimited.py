"""Text files as office programs write them: their encoding, what separates the cells, quotes."""

import codecs
import csv
import re
from io import StringIO
from pathlib import Path

from fin_plugins.common.errors import FinError

_DELIMITERS = (",", ";", "\t")
_LONGEST_CELL = 1 << 30
_HEADER = 1 << 14
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",  # begins with the mark of UTF-16, so it is looked for first
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_QUOTED = re.compile(r'(^|[,;\t])[ ]*"(?:[^"]|"")*+"')
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?(?:\r\n|\r|\n|$)', re.IGNORECASE)


def decoded(path: Path, encoding: str | None = None) -> str:
    """The text of a file, without a byte order mark.

    Args:
        path: the file.
        encoding: its encoding; None for what a mark at its beginning says, else UTF-8.

    Raises:
        FinError: it is in another encoding, or none is called so.
    """
    content = path.read_bytes()
    zeros = content.count(0, 0, _HEADER)
    if encoding is None and not content.startswith(tuple(_MARKS)) and 3 * zeros > len(content[:_HEADER]):
        raise FinError(f"{path}: every other byte is 0, as in UTF-16 without its mark: {_REMEDY}")
    marked = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding or marked)
    except LookupError as error:
        raise FinError(f"{path}: encoding {encoding}: none is called so; known are cp1252, latin-1, utf-16") from error
    except UnicodeError as error:
        raise FinError(f"{path}: {_where(content, error)}: not {(encoding or marked).upper()}: {_REMEDY}") from error
    return text.removeprefix("\ufeff")


_REMEDY = (
    "save the file as UTF-8 (Excel: CSV UTF-8), or name its encoding, as in `--encoding cp1252` "
    "(in a task file `encoding: cp1252`)"
)


def _where(content: bytes, error: UnicodeError) -> str:
    start = error.start if isinstance(error, UnicodeDecodeError) else 0
    line = content.count(b"\n", 0, start) + 1
    return f"line {line}"


def delimited(text: str, path: Path, delimiter: str | None = None) -> list[list[str]]:
    """The rows of a text, empty lines left out.

    A first line `sep=;` says what separates cells; else it is what separates those of the first line. A blank behind a
    separator belongs to no cell, so that quotes behind it are quotes.

    Args:
        text: the whole file.
        path: of the file, for messages.
        delimiter: what separates the cells; None where the text tells.

    Raises:
        FinError: a row has another number of cells than the first one, or a quote is missing.
    """
    csv.field_size_limit(_LONGEST_CELL)
    said, before = _SEPARATOR_LINE.match(text), 0
    if said:
        text, before, delimiter = text[said.end() :], 1, said[1]
    lines = csv.reader(
        StringIO(text, newline=""), delimiter=delimiter or _delimiter(text), strict=True, skipinitialspace=True
    )
    rows: list[list[str]] = []
    try:
        for row in lines:
            if rows and row and len(row) != len(rows[0]):
                raise FinError(
                    f"{path}: line {lines.line_num + before}: {len(row)} cells where the first line has "
                    f"{len(rows[0])}: put a text that holds the separator or a line break in double quotes"
                )
            rows += [row] if row else []
    except csv.Error as error:
        line = lines.line_num + before
        raise FinError(f"{path}: line {line}: broken ({error}): is a double quote missing?") from error
    return rows


def _delimiter(text: str) -> str:
    """What separates the cells of the first line; separators inside quotes do not count."""
    header = _QUOTED.sub(r"\1", text[:_HEADER]).split("\n", 1)[0]
    return max(_DELIMITERS, key=header.count)
