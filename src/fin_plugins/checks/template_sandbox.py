"""Renders templates as lm-eval does, in a separate process that a template can neither escape nor keep busy."""

import atexit
import json
import os
import pickle
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import IO, Any

from fin_plugins.checks.template_worker import CPU_SECONDS, MEMORY_BYTES
from fin_plugins.compat.lm_eval.prompts import templates_rendered_by

_WORKER_SCRIPT = Path(__file__).with_name("template_worker.py")
_TIMEOUT_SECONDS = 300.0
"""Wall-clock limit for an answer; only reached on a machine that hangs, because the worker has its own CPU limit."""
_ENVIRONMENT = {"FIN_PLUGINS_AUTOLOAD": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

Document = Mapping[str, Any]


class RenderingError(Exception):
    """A template cannot be rendered with some row; the message says why."""


class TemplateSyntaxError(Exception):
    """A template is not valid Jinja.

    Attributes:
        line: line in the template, from 1.
    """

    def __init__(self, message: str, line: int) -> None:
        """Take Jinja's message and line."""
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class ParsedTemplate:
    """A valid template.

    Attributes:
        variables: the columns that it names.
        literal: its constant text, with `{}` in place of each value.
    """

    variables: frozenset[str]
    literal: str


@lru_cache(maxsize=256)
def parse_template(template: str) -> TemplateSyntaxError | ParsedTemplate:
    """The parsed template, or what is wrong with it."""
    try:
        answer = _worker.request(template, None)
    except RenderingError as error:
        return TemplateSyntaxError(f"too complex to be a real template ({error})", 1)
    if "fault" in answer:
        return TemplateSyntaxError(*answer["fault"])
    return ParsedTemplate(frozenset(answer["variables"]), answer["literal"])


def variables(template: str) -> frozenset[str]:
    """The columns that a template names; empty if it is invalid."""
    parsed = parse_template(template)
    return parsed.variables if isinstance(parsed, ParsedTemplate) else frozenset()


def literal_text(template: str) -> str:
    """The constant text of a template, with `{}` in place of each value; empty if it is invalid."""
    parsed = parse_template(template)
    return parsed.literal if isinstance(parsed, ParsedTemplate) else ""


def render(template: str, document: Document) -> str:
    """Render a template, or show the column of that name, as lm-eval does.

    Raises:
        RenderingError: it cannot be rendered with this row, or not within the limits.
    """
    return render_all(template, [document])[0]


def render_all(template: str, documents: Sequence[Document]) -> list[str]:
    """Render a template with many rows at once.

    Raises:
        RenderingError: it cannot be rendered with one of the rows, or not with all of them within the limits.
    """
    if all(template in document for document in documents):
        return [str(document[template]) for document in documents]
    if isinstance(error := parse_template(template), TemplateSyntaxError):
        raise RenderingError(str(error))
    answer = _worker.request(template, documents)
    if "error" in answer:
        raise RenderingError(answer["error"])
    return list(answer["texts"])


@contextmanager
def sandbox_lm_eval_templates() -> Iterator[None]:
    """Make lm-eval's own tasks render their templates in the sandbox."""
    with templates_rendered_by(render):
        yield


class _Worker:
    """The rendering process, started on first use and again after it was ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._lock = Lock()
        self._rejected: dict[str, str] = {}
        """Reason by template for those that exceeded a limit; they are not tried again with every row."""

    def request(self, template: str, documents: Sequence[Document] | None) -> dict[str, Any]:
        """The worker's answer for a template: parsed if there are no documents, else rendered with each of them.

        Raises:
            RenderingError: it exceeded a limit, or a row holds an object that cannot be pickled.
        """
        if template in self._rejected:
            raise RenderingError(self._rejected[template])
        try:
            request = pickle.dumps((template, documents))
        except Exception as error:  # objects of a data set may raise anything
            raise RenderingError(f"a row holds a value that cannot be passed on ({type(error).__name__})") from error
        with self._lock:
            answer = self._exchange(request)
        if isinstance(answer, str):
            self._rejected[template] = answer
            raise RenderingError(answer)
        return answer

    def _exchange(self, request: bytes) -> dict[str, Any] | str:
        """Send a request; the answer, or why there is none."""
        try:
            requests, answers = self._pipes()
            requests.write(len(request).to_bytes(8, "big") + request)
            requests.flush()
            line = answers.readline() if select.select([answers], [], [], _TIMEOUT_SECONDS)[0] else b""
        except BrokenPipeError:
            line = b""
        except BaseException:  # such as Ctrl-C: a later request would read the answer to this one
            self.close()
            raise
        if line.endswith(b"\n"):
            answer: dict[str, Any] = json.loads(line)
            return answer
        return self._end_reason()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        if self._process is None or self._process.poll() is not None or self._owner != os.getpid():
            self._owner = os.getpid()
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_WORKER_SCRIPT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **_ENVIRONMENT},
            )
        assert self._process.stdin is not None and self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def _end_reason(self) -> str:
        status = self._process.poll() if self._process else None
        with suppress(subprocess.TimeoutExpired):
            status = self._process.wait(1) if self._process else None
        self.close()
        if status == -signal.SIGPROF:
            return f"does not finish within {CPU_SECONDS:.0f} s"
        reason = "no answer" if status is None else f"status {status}"
        return f"crashes the rendering process ({reason}), perhaps because it needs over {MEMORY_BYTES >> 30} GiB"

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()


_worker = _Worker()
atexit.register(_worker.close)
