"""The process that renders templates: in a sandbox, with an end to time, memory and text. `rendering.py` starts it.

A request is a pickle behind its length: what to do, the template, the rows. An answer is a line of JSON. This file is
run by its path and imports nothing of the package. Time is that of the processor, so that a busy machine changes
nothing; the system ends the process when it is up, whatever it is in the middle of.
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

SECONDS = 3.0
"""Of the processor, for all rows of a request: two thousand rows of a usual template take a fiftieth of a second."""
MEMORY = 1 << 30
"""Bytes, beside what the process has when it begins with a request."""
LONGEST = 1 << 20
"""Characters of one row's text."""
_TOGETHER = 64 << 20
"""Characters of all rows' texts in one request."""


class TooMuchError(Exception):
    """A template makes more than anybody would read."""


class Sandbox(SandboxedEnvironment):
    """lm-eval's environment, less what reaches into Python."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Multiply, but nothing that would fill the memory."""
        if operator == "**" or max(map(_size, (left, right))) > LONGEST:
            raise TooMuchError(f"`{operator}` of values this large")
        return super().call_binop(context, operator, left, right)


ENVIRONMENT = Sandbox(undefined=StrictUndefined, keep_trailing_newline=True)


def _size(value: Any) -> int:
    return abs(value) if isinstance(value, int) else len(value) if isinstance(value, str | list | tuple) else 0


def parse(template: str) -> dict[str, Any]:
    """What a template says, without rendering it: its variables, and its own words with `{}` for values."""
    try:
        tree = ENVIRONMENT.parse(template)
        ENVIRONMENT.compile(tree)
        named = set(meta.find_undeclared_variables(tree)) - set(ENVIRONMENT.globals)
    except TemplateSyntaxError as error:
        return {"fault": [(error.message or "no Jinja").rstrip("."), error.lineno]}
    except (RecursionError, ValueError, OverflowError, SyntaxError, MemoryError, TooMuchError) as error:
        return {"fault": [f"no template that anybody would write ({type(error).__name__})", 1]}
    parts = [part for output in tree.find_all(nodes.Output) for part in output.nodes]
    literal = "".join(part.data if isinstance(part, nodes.TemplateData) else "{}" for part in parts)
    return {"variables": sorted(named), "literal": literal}


def render(template: str, documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The text of every row, or the first error."""
    try:
        compiled = ENVIRONMENT.from_string(template)
        texts: list[str] = []
        left = _TOGETHER
        for document in documents:
            texts.append("".join(_pieces(compiled.generate(**document), min(LONGEST, left))))
            left -= len(texts[-1])
    except MemoryError:
        return {"error": f"needs more than {MEMORY >> 30} GiB of memory"}
    except Exception as error:  # a template may raise whatever the values it works on raise
        return {"error": (next(iter(str(error).splitlines()), "") or type(error).__name__)[:200]}
    return {"texts": texts}


def _pieces(pieces: Iterator[str], most: int) -> Iterator[str]:
    for piece in pieces:
        most -= len(piece)
        if most < 0:
            raise TooMuchError("makes a text without end, or nearly: more than a million characters")
        yield piece


@contextmanager
def _limits() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_memory() + MEMORY, before[1]))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # SIGPROF, which nobody handles, ends the process
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)


def _memory() -> int:
    """Bytes of address space that this process has."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    except OSError:  # no Linux
        return MEMORY


def _named(template: str) -> set[str]:
    """Filters and tests that a template names."""
    try:
        return {one.name for one in ENVIRONMENT.parse(template).find_all((nodes.Filter, nodes.Test))}
    except Exception:  # `parse` and `render` say what is wrong
        return set()


def _add_those_of_lm_eval() -> None:
    """lm-eval has filters of its own; importing them takes seconds, which only who names one of them pays."""
    from fin_plugins.compat.lm_eval.prompts import template_filters

    filters, tests = template_filters()
    ENVIRONMENT.filters = {**filters, **ENVIRONMENT.filters}
    ENVIRONMENT.tests = {**tests, **ENVIRONMENT.tests}


def main() -> None:
    """Answer until nobody asks any more."""
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    while len(size := asked.read(8)) == 8:
        template, documents = pickle.loads(asked.read(int.from_bytes(size, "big")))  # noqa: S301 - of our own parent
        with _limits():
            named = _named(template)
        if named - {*ENVIRONMENT.filters, *ENVIRONMENT.tests}:
            _add_those_of_lm_eval()
        with _limits():
            answer = parse(template) if documents is None else render(template, documents)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
