"""Docstrings and help texts on the site: single backticks mean code, and no text may break the build.

The package's docstrings are plain text with Google sections. Where one is not valid reStructuredText, it is shown as it
stands, in a block.
"""

import re
from typing import Annotated, Any, get_origin

from docutils import frontend, nodes, utils
from docutils.parsers.rst import Parser, roles

_CODE = re.compile(r"(?<![`:\w])`([^`\n]+)`(?!`|_)")
_ROLE = re.compile(r":(?:py:)?\w+:`")
_OWN_SYNTAX = re.compile(r"(?<=\w)_(?=\W|$)|(?<!\*)\*(?!\*)|\|")


def mark_code(lines: list[str]) -> None:
    """Turn `code` into literal text and escape what reStructuredText would read as markup."""
    for number, line in enumerate(lines):
        parts = _CODE.split(line)
        for index, part in enumerate(parts):
            parts[index] = f"``{part}``" if index % 2 else _OWN_SYNTAX.sub(r"\\\g<0>", part)
        lines[number] = "".join(parts)


def before_napoleon(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Mark code before the Google sections are read."""
    mark_code(lines)


def after_napoleon(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Show a docstring that is not valid reStructuredText as it stands."""
    if not _is_valid(lines, app.env):
        text = [line.replace("``", "`").replace("\\", "") for line in lines]
        lines[:] = ["::", "", *(f"   {line}" for line in text), ""]


def _is_valid(lines: list[str], env: Any) -> bool:
    """Whether docutils parses the lines without a message; transforms, which cost more than parsing, are left out."""
    settings = frontend.get_default_settings(Parser)
    vars(settings).update(report_level=5, halt_level=5, warning_stream=False, env=env)
    document = utils.new_document("docstring", settings)
    messages: list[Any] = []
    document.reporter.attach_observer(messages.append)
    Parser().parse("\n".join(_ROLE.sub(":code:`", line) for line in lines), document)
    return not [message for message in messages if message["level"] > 1]


def skip_alias(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out aliases of annotated types: their patterns and bounds are shown where they are used."""
    return True if get_origin(obj) is Annotated else None


def help_text(app: Any, ctx: Any, lines: list[str]) -> None:
    """A command's help: blocks after click's mark keep their lines, the rest flows."""
    made: list[str] = []
    verbatim = False
    for line in lines:
        if line.startswith("|"):
            made += ["", "::", ""] if not verbatim else []
            made.append("   " + line.removeprefix("|").removeprefix(" "))
            verbatim = True
            continue
        if verbatim:
            made.append("")
            verbatim = False
        plain = [line]
        mark_code(plain)
        made += plain
    lines[:] = made


def setup(app: Any) -> dict[str, Any]:
    """Connect to autodoc and sphinx-click."""
    roles.register_generic_role("code", nodes.literal)
    app.connect("autodoc-process-docstring", before_napoleon, priority=400)
    app.connect("autodoc-process-docstring", after_napoleon, priority=600)
    app.connect("autodoc-skip-member", skip_alias)
    app.connect("sphinx-click-process-description", help_text)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
