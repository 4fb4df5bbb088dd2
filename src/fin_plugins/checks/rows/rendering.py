"""Renders templates as lm-eval does, in a process of its own that a template can neither leave nor keep busy."""

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

from fin_plugins.checks.rows.rendering_worker import MEMORY, SECONDS
from fin_plugins.compat.lm_eval.prompts import templates_rendered_by

_WORKER = Path(__file__).with_name("rendering_worker.py")
_PATIENCE = 300.0
"""Seconds by the clock until a process that does not answer is ended: nothing but a machine at a standstill."""
_ENVIRONMENT = {"FIN_PLUGINS_AUTOLOAD": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

Document = Mapping[str, Any]


class RenderingError(Exception):
    """A template that can be read but not rendered with some row; the message says why."""


class SyntaxFault(Exception):
    """A template that is no Jinja.

    Attributes:
        line: of the template, from 1.
    """

    def __init__(self, message: str, line: int) -> None:
        """Take Jinja's message and line."""
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class Parsed:
    """What a template says.

    Attributes:
        variables: the columns that it names.
        literal: its words that are the same for every row, with `{}` where a value stands.
    """

    variables: frozenset[str]
    literal: str


@lru_cache(maxsize=256)
def parsed(template: str) -> SyntaxFault | Parsed:
    """The template as it is read, or what is wrong with it."""
    try:
        answer = _worker.ask(template, None)
    except RenderingError as error:
        return SyntaxFault(f"no template that anybody would write ({error})", 1)
    if "fault" in answer:
        return SyntaxFault(*answer["fault"])
    return Parsed(frozenset(answer["variables"]), answer["literal"])


def variables(template: str) -> frozenset[str]:
    """The columns that a template names; none where it cannot be read."""
    found = parsed(template)
    return found.variables if isinstance(found, Parsed) else frozenset()


def literal(template: str) -> str:
    """The words of a template that are the same for every row, with `{}` where a value stands."""
    found = parsed(template)
    return found.literal if isinstance(found, Parsed) else ""


def render(template: str, document: Document) -> str:
    """What lm-eval would make of a column's name or a template.

    Raises:
        RenderingError: it cannot be rendered with this row, or not within the limits.
    """
    return render_all(template, [document])[0]


def render_all(template: str, documents: Sequence[Document]) -> list[str]:
    """The same for many rows at once.

    Raises:
        RenderingError: it cannot be rendered with one of the rows, or not with all of them within the limits.
    """
    if all(template in document for document in documents):
        return [str(document[template]) for document in documents]
    if isinstance(fault := parsed(template), SyntaxFault):
        raise RenderingError(str(fault))
    answer = _worker.ask(template, documents)
    if "error" in answer:
        raise RenderingError(answer["error"])
    return list(answer["texts"])


@contextmanager
def limits_for_lm_eval() -> Iterator[None]:
    """Inside, lm-eval's own tasks render their templates here."""
    with templates_rendered_by(render):
        yield


class _Worker:
    """The process, started when it is first needed, and anew after it was ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._lock = Lock()
        self._too_much: dict[str, str] = {}
        """Templates that went over a limit, which are not tried again with every row."""

    def ask(self, template: str, documents: Sequence[Document] | None) -> dict[str, Any]:
        """The process's answer about a template, with the rows that it is to be rendered with.

        Raises:
            RenderingError: it went over a limit, or a row holds what cannot be handed over.
        """
        if template in self._too_much:
            raise RenderingError(self._too_much[template])
        try:
            request = pickle.dumps((template, documents))
        except Exception as error:  # whatever an object of a data set's own raises
            raise RenderingError(f"a row holds what cannot be handed over ({type(error).__name__})") from error
        with self._lock:
            answer = self._answer(request)
        if isinstance(answer, str):
            self._too_much[template] = answer
            raise RenderingError(answer)
        return answer

    def _answer(self, request: bytes) -> dict[str, Any] | str:
        """The answer, or why there is none."""
        try:
            asked, answers = self._pipes()
            asked.write(len(request).to_bytes(8, "big") + request)
            asked.flush()
            line = answers.readline() if select.select([answers], [], [], _PATIENCE)[0] else b""
        except BrokenPipeError:
            line = b""
        except BaseException:  # such as Ctrl-C: the next answer would be the one to this request
            self.close()
            raise
        if line.endswith(b"\n"):
            answer: dict[str, Any] = json.loads(line)
            return answer
        return self._how_it_ended()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        if self._process is None or self._process.poll() is not None or self._owner != os.getpid():
            self._owner = os.getpid()
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **_ENVIRONMENT},
            )
        assert self._process.stdin is not None and self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def _how_it_ended(self) -> str:
        ended = self._process.poll() if self._process else None
        with suppress(subprocess.TimeoutExpired):
            ended = self._process.wait(1) if self._process else None
        self.close()
        if ended == -signal.SIGPROF:
            return f"does not end within {SECONDS:.0f} s"
        how = "no answer" if ended is None else f"status {ended}"
        return f"ends the process that renders it ({how}), as one that needs more than {MEMORY >> 30} GiB may"

    def close(self) -> None:
        """End the process, if there is one."""
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
