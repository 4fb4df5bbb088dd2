"""One command, in a process group of its own: measured, stopped with all that it started, and never left behind."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

OWNER = "FIN_RUN_OWNER"
"""Variable with the process of the `fin run` that a local step belongs to: the step stops when that is gone."""
_EVERY = 0.5  # seconds between two looks at memory and owner
_PATIENCE = 10.0  # seconds that a command without an owner has to end
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PARENT_DEATH = 1  # prctl's PR_SET_PDEATHSIG


@dataclass(frozen=True)
class Spent:
    """How a command ended, and what it took.

    Attributes:
        status: exit status, or minus the signal that ended it.
        stopped: it was asked to stop.
        seconds: by the clock.
        cpu_seconds: of it and all that it started.
        peak_bytes: resident at once, of it and all that it started, looked at twice a second.
    """

    status: int
    stopped: bool
    seconds: float
    cpu_seconds: float
    peak_bytes: int


class Running:
    """A command at work. SIGINT and SIGTERM to this process reach it, as Ctrl-C, with all that it started."""

    def __init__(
        self, command: Sequence[str], folder: Path, log: IO[bytes], environment: Mapping[str, str], keep: Sequence[int]
    ) -> None:
        """Start it.

        Args:
            command: argument vector.
            folder: to run it in.
            log: for all that it prints.
            environment: its variables.
            keep: descriptors that it inherits: locks that hold as long as it lives.
        """
        self._asked = False
        self._process: subprocess.Popen[bytes] | None = None
        self._before: dict[int, Any] = {n: signal.signal(n, self._stop) for n in (signal.SIGINT, signal.SIGTERM)}
        self._began, (self._used_before, _) = time.monotonic(), _children()
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=tuple(keep),
            start_new_session=True,
            preexec_fn=_as_from_a_terminal,
        )
        self.group = self._process.pid
        if self._asked:
            send(self.group, signal.SIGINT)

    def finish(self) -> Spent:
        """Wait for its end; what it left running is ended then."""
        assert self._process is not None
        peak, alone_since = 0, None
        while True:
            with suppress(subprocess.TimeoutExpired):
                status = self._process.wait(_EVERY)
                break
            peak = max(peak, _resident(self.group))
            if not _owned():
                alone_since = alone_since or time.monotonic()
                self._asked = True
                send(self.group, signal.SIGINT if time.monotonic() - alone_since < _PATIENCE else signal.SIGKILL)
        seconds = time.monotonic() - self._began
        send(self.group, signal.SIGKILL)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        used, most = _children()
        return Spent(status, self._asked, seconds, used - self._used_before, max(peak, most))

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        if self._process is not None:
            send(self._process.pid, signal.SIGINT)


def send(group: int, number: int) -> None:
    """Send a signal to a process group, if there is one."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def alive(process: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    import psutil

    try:
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def end_with_parent(number: int = signal.SIGKILL) -> Callable[[], None]:
    """For a child's first moment: that the kernel ends it when its parent is gone. Linux only; elsewhere nothing."""

    def ask() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PARENT_DEATH, number)

    return ask


def _as_from_a_terminal() -> None:
    """A child's first moment: Ctrl-C works even where this program was started to ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    end_with_parent()()


def _owned() -> bool:
    owner = os.environ.get(OWNER)
    return owner is None or alive(int(owner))


def _resident(process: int) -> int:
    import psutil

    try:
        parent = psutil.Process(process)
        family = [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return 0
    found = 0
    for one in family:
        with suppress(psutil.Error):
            found += one.memory_info().rss
    return found


def _children() -> tuple[float, int]:
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime, used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
