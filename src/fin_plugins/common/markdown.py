"""Markdown from untrusted text (names, licences, paths), escaped: no markup, HTML or line break gets through."""

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

_MARKUP = re.compile(r"([\\`*_\[\]|~#!$])")


def single_line(value: Any) -> str:
    """The value as one line of text: runs of white space and control characters become single spaces."""
    return " ".join("".join(character if character.isprintable() else " " for character in str(value)).split())


def escape(value: Any) -> str:
    """The value as escaped plain text, for a sentence or a table cell."""
    return _MARKUP.sub(r"\\\1", html.escape(single_line(value), quote=False))


def inline_code(value: Any) -> str:
    """The value as inline code; nothing in it can end the code early."""
    text = single_line(value) or " "
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def table_cell(value: Any) -> str:
    """The value as inline code in a table cell, where an unescaped bar would end the cell."""
    return inline_code(value).replace("|", r"\|")


def number(value: float | None, digits: int = 4) -> str:
    """A number with fixed decimal places; a dash for None and NaN."""
    return "–" if value is None or value != value else f"{value:.{digits}f}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], align: str = "") -> str:
    """A Markdown table. Header and cells must be Markdown already: see `table_cell` and `escape`.

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
