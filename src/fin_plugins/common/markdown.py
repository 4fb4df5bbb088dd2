"""Text of others (names, licences, paths) as Markdown that shows it as it is: no markup, no HTML, no line breaks."""

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

_MARKUP = re.compile(r"([\\`*_\[\]|~#!$])")


def line(value: Any) -> str:
    """The value as text on one line: white space and control characters become single spaces."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in str(value)).split())


def words(value: Any) -> str:
    """The value as plain words within a sentence or a cell of a table."""
    return _MARKUP.sub(r"\\\1", html.escape(line(value), quote=False))


def code(value: Any) -> str:
    """The value as inline code within a cell of a table or a sentence; nothing in it can end the code early."""
    text = line(value) or " "
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def cell(value: Any) -> str:
    """As `code`, in a cell of a table, where a bar would end the cell even within code."""
    return code(value).replace("|", r"\|")


def figure(value: float | None, digits: int = 4) -> str:
    """A measured number; a dash where there is none or where it is not a number."""
    return "–" if value is None or value != value else f"{value:.{digits}f}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], align: str = "") -> str:
    """A Markdown table. Header and cells must be Markdown already: see `cell` and `words`.

    Args:
        header: one per column.
        rows: cells of each row, as many as the header has.
        align: one letter per column, `l`, `c` or `r`; empty: all to the left.

    Returns:
        The lines of the table, ending in a line break.
    """
    rules = {"l": "---", "c": ":---:", "r": "---:"}
    lines = [list(header), [rules[letter] for letter in align or "l" * len(header)], *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
