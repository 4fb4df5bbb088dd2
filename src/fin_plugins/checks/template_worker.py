"""The process that renders templates for `template_sandbox.py`: sandboxed, with limits on time, memory and output.

A request is a pickle of the template and the rows, preceded by its length. An answer is a line of JSON. This file is
run by its path and imports nothing of the package. The time limit counts CPU time, so a busy machine changes nothing;
the kernel ends the process at the limit.
"""

import json
import pickle
import resource
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, TemplateSyntaxError, meta, nodes
from jinja2.sandbox import SandboxedEnvironment

CPU_SECONDS = 3.0
"""For all rows of a request; two thousand rows of an ordinary template take a fiftieth of a second."""
MEMORY_BYTES = 1 << 30
"""In addition to what the process uses when a request begins."""
_MAX_TEXT = 1 << 20
"""Characters of one rendered text."""
_MAX_TOTAL = 64 << 20
"""Characters of all texts in one request."""


class LimitError(Exception):
    """A template produces too much output."""


class Sandbox(SandboxedEnvironment):
    """lm-eval's environment without access to Python's internals."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Multiply, unless the result could fill the memory."""
        if operator == "**" or max(map(_size, (left, right))) > _MAX_TEXT:
            raise LimitError(f"`{operator}` of values this large")
        return super().call_binop(context, operator, left, right)


ENVIRONMENT = Sandbox(undefined=StrictUndefined, keep_trailing_newline=True)


def _size(value: Any) -> int:
    return abs(value) if isinstance(value, int) else len(value) if isinstance(value, str | list | tuple) else 0


def parse(template: str) -> dict[str, Any]:
    """The `variables` and the `literal` text of a template, without rendering it, or its `fault` with the line."""
    try:
        tree = ENVIRONMENT.parse(template)
        ENVIRONMENT.compile(tree)
        names = set(meta.find_undeclared_variables(tree)) - set(ENVIRONMENT.globals)
    except TemplateSyntaxError as error:
        return {"fault": [(error.message or "invalid Jinja").rstrip("."), error.lineno]}
    except (RecursionError, ValueError, OverflowError, SyntaxError, MemoryError, LimitError) as error:
        return {"fault": [f"too complex to be a real template ({type(error).__name__})", 1]}
    parts = [part for output in tree.find_all(nodes.Output) for part in output.nodes]
    literal = "".join(part.data if isinstance(part, nodes.TemplateData) else "{}" for part in parts)
    return {"variables": sorted(names), "literal": literal}


def render(template: str, documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The `texts` of all rows, or the first `error`."""
    try:
        compiled = ENVIRONMENT.from_string(template)
        texts: list[str] = []
        remaining = _MAX_TOTAL
        for document in documents:
            texts.append("".join(_limited(compiled.generate(**document), min(_MAX_TEXT, remaining))))
            remaining -= len(texts[-1])
    except MemoryError:
        return {"error": f"needs more than {MEMORY_BYTES >> 30} GiB of memory"}
    except Exception as error:  # a template may raise whatever its values raise
        return {"error": (next(iter(str(error).splitlines()), "") or type(error).__name__)[:200]}
    return {"texts": texts}


def _limited(pieces: Iterator[str], limit: int) -> Iterator[str]:
    for piece in pieces:
        limit -= len(piece)
        if limit < 0:
            raise LimitError("produces more than a million characters, perhaps without end")
        yield piece


@contextmanager
def _limits() -> Iterator[None]:
    previous = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_memory_in_use() + MEMORY_BYTES, previous[1]))
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)  # SIGPROF has no handler, so it ends the process
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, previous)


def _memory_in_use() -> int:
    """Bytes of this process's address space."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    except OSError:  # not Linux
        return MEMORY_BYTES


def _filters_and_tests(template: str) -> set[str]:
    """Names of the filters and tests in a template."""
    try:
        return {node.name for node in ENVIRONMENT.parse(template).find_all((nodes.Filter, nodes.Test))}
    except Exception:  # `parse` and `render` report it
        return set()


def _add_lm_eval_filters() -> None:
    """Add lm-eval's own filters; importing them takes seconds, so only templates that use one pay for it."""
    from fin_plugins.compat.lm_eval.prompts import template_filters

    filters, tests = template_filters()
    ENVIRONMENT.filters = {**filters, **ENVIRONMENT.filters}
    ENVIRONMENT.tests = {**tests, **ENVIRONMENT.tests}


def main() -> None:
    """Answer requests until standard input closes."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while len(size := requests.read(8)) == 8:
        template, documents = pickle.loads(requests.read(int.from_bytes(size, "big")))  # noqa: S301 - of our own parent
        with _limits():
            names = _filters_and_tests(template)
        if names - {*ENVIRONMENT.filters, *ENVIRONMENT.tests}:
            _add_lm_eval_filters()
        with _limits():
            answer = parse(template) if documents is None else render(template, documents)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
