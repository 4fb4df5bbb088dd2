"""Templates as lm-eval renders them, in a sandbox: a file that is only checked must not run anything."""

import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.checks.model import Finding, Function, TaskFile
from fin_plugins.foreign_files import UnreadableFile, read_text
from fin_plugins.yaml_nodes import Key

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

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
_LONGEST = 1 << 20


class RenderingError(Exception):
    """A template that can be read but not rendered with some row; the message says why."""


def check(file: TaskFile) -> Iterator[Finding]:
    """Rule P02."""
    for key, template in templates(file):
        error = parsed(template)
        if isinstance(error, SyntaxFault):
            yield _at(file, key, error)


def templates(file: TaskFile) -> Iterator[tuple[Key, str]]:
    """The templates of a task, with their keys."""
    for key in KEYS:
        value: Any = file.data
        for part in key:
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, str) and not isinstance(value, Function):
            yield key, value


class SyntaxFault(Exception):
    """A template that is no Jinja.

    Attributes:
        line: of the template, from 1.
    """

    def __init__(self, message: str, line: int) -> None:
        """Take Jinja's message and line."""
        super().__init__(message)
        self.line = line


@lru_cache(maxsize=64)
def parsed(template: str) -> SyntaxFault | Any:
    """The compiled template, or what is wrong with it."""
    from jinja2 import TemplateSyntaxError

    try:
        return _environment().from_string(template)
    except TemplateSyntaxError as error:
        return SyntaxFault((error.message or "no Jinja").rstrip("."), error.lineno)
    except (RecursionError, ValueError, OverflowError, SyntaxError, MemoryError) as error:
        return SyntaxFault(f"no template that anybody would write ({type(error).__name__})", 1)


@lru_cache(maxsize=64)
def variables(template: str) -> frozenset[str]:
    """The columns that a template names; none where it cannot be read."""
    from jinja2 import meta

    if isinstance(parsed(template), SyntaxFault):
        return frozenset()
    environment = _environment()
    return frozenset(meta.find_undeclared_variables(environment.parse(template))) - set(environment.globals)


def render(template: str, document: Mapping[str, Any]) -> str:
    """What lm-eval would make of a column's name or a template.

    Raises:
        RenderingError: it cannot be rendered with this row.
    """
    if template in document:
        return str(document[template])
    compiled = parsed(template)
    if isinstance(compiled, SyntaxFault):
        raise RenderingError(str(compiled))
    try:
        return str(compiled.render(**document))
    except Exception as error:  # a template may raise whatever the values it works on raise
        first = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise RenderingError(first[:200]) from error


def literal(template: str) -> str:
    """The words of a template that are the same for every row, with `{}` where a value stands."""
    from jinja2 import nodes

    if isinstance(parsed(template), SyntaxFault):
        return ""
    outputs = _environment().parse(template).find_all(nodes.Output)
    parts = [part for output in outputs for part in output.nodes]
    return "".join(part.data if isinstance(part, nodes.TemplateData) else "{}" for part in parts)


@cache
def _environment() -> "SandboxedEnvironment":
    from jinja2.sandbox import SandboxedEnvironment
    from lm_eval.utils import env

    class Sandbox(SandboxedEnvironment):
        intercepted_binops = frozenset({"*", "**"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            """Multiply, but nothing that would fill the memory."""
            if operator == "**" or max(map(_size, (left, right))) > _LONGEST:
                raise RenderingError(f"`{operator}` of values this large")
            return super().call_binop(context, operator, left, right)

    theirs = Sandbox(undefined=env.undefined, keep_trailing_newline=env.keep_trailing_newline)
    theirs.filters.update(env.filters)
    theirs.tests.update(env.tests)
    return theirs


def _size(value: Any) -> int:
    return abs(value) if isinstance(value, int) else len(value) if isinstance(value, str | list | tuple) else 0


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
