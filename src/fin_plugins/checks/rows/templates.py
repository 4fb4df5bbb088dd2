"""The templates of a task file: where they stand, and which of them are no Jinja."""

import re
from collections.abc import Iterator
from pathlib import Path

from fin_plugins.checks.model import Finding, Function, TaskFile
from fin_plugins.checks.rows.rendering import SyntaxFault, parsed
from fin_plugins.checks.rows.rendering import variables as variables
from fin_plugins.common.foreign_files import UnreadableFile, get_in, read_text
from fin_plugins.common.yaml_nodes import Key

KEYS: tuple[Key, ...] = (
    ("description",),
    ("doc_to_text",),
    ("doc_to_target",),
    ("doc_to_choice",),
    ("gen_prefix",),
    ("doc_to_decontamination_query",),
    ("fewshot_config", "doc_to_text"),
    ("fewshot_config", "doc_to_target"),
    ("fewshot_config", "doc_to_choice"),
    ("fewshot_config", "gen_prefix"),
)
"""Where lm-eval takes a template, or the name of a column."""

_BLOCK = re.compile(r"[|>][-+0-9]*\s*(#.*)?$")


def check(file: TaskFile) -> Iterator[Finding]:
    """Rule P02."""
    for key, template in templates(file):
        error = parsed(template)
        if isinstance(error, SyntaxFault):
            yield _at(file, key, error)


def templates(file: TaskFile) -> Iterator[tuple[Key, str]]:
    """The templates of a task, with their keys."""
    for key in KEYS:
        value = get_in(file.data, *key)
        if isinstance(value, str) and not isinstance(value, Function):
            yield key, value


def _at(file: TaskFile, key: Key, fault: SyntaxFault) -> Finding:
    """At the line of the file: a block's lines begin below its key."""
    finding = file.finding("P02", key, f"no Jinja template: {fault}")
    lines = _lines(finding.file)
    line = lines[finding.line - 1] if finding.line <= len(lines) else ""
    target = finding.line + fault.line
    if not _BLOCK.search(line) or ">" in line or target > len(lines):
        return finding
    inside = lines[target - 1]
    column = len(inside) - len(inside.lstrip()) + 1
    return Finding(finding.file, target, column, finding.key, finding.code, finding.message)


def _lines(name: str) -> list[str]:
    try:
        return read_text(Path(name)).split("\n")
    except UnreadableFile:
        return []
