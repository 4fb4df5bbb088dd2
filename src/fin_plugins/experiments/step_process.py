"""One command in its own process group: measured, stopped with all its children, and never left behind."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

OWNER_VARIABLE = "FIN_RUN_OWNER"
"""Environment variable with the process id of the `fin run` that owns a local step; the step stops when it is gone."""
_POLL_SECONDS = 0.5  # interval of memory and owner checks
_GRACE_SECONDS = 10.0  # time for a command without an owner to end
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class ResourceUsage:
    """How a command ended, and what it used.

    Attributes:
        status: exit status, or minus the signal that ended it.
        was_stopped: whether it was asked to stop.
        seconds: wall-clock time.
        cpu_seconds: CPU time of the command and its children.
        peak_bytes: peak resident memory of the command and its children, sampled twice a second.
    """

    status: int
    was_stopped: bool
    seconds: float
    cpu_seconds: float
    peak_bytes: int


class StepProcess:
    """A running command. SIGINT and SIGTERM to this process interrupt the command and all its children."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        log: IO[bytes],
        environment: Mapping[str, str],
        inherited: Sequence[int],
    ) -> None:
        """Start it.

        Args:
            command: argument vector.
            folder: working directory.
            log: receives its output.
            environment: its environment variables.
            inherited: descriptors that it inherits: locks held as long as it lives.
        """
        self._stop_requested = False
        self._process: subprocess.Popen[bytes] | None = None
        self._handlers: dict[int, Any] = {n: signal.signal(n, self._stop) for n in (signal.SIGINT, signal.SIGTERM)}
        self._start, (self._cpu_seconds_before, _) = time.monotonic(), _children_usage()
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=tuple(inherited),
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
        self.group = self._process.pid
        if self._stop_requested:
            send_signal(self.group, signal.SIGINT)

    def finish(self) -> ResourceUsage:
        """Wait for its end, and end what it left running."""
        assert self._process is not None
        peak, orphaned_since = 0, None
        while True:
            with suppress(subprocess.TimeoutExpired):
                status = self._process.wait(_POLL_SECONDS)
                break
            peak = max(peak, _resident_bytes(self.group))
            if not _has_owner():
                orphaned_since = orphaned_since or time.monotonic()
                self._stop_requested = True
                is_in_grace = time.monotonic() - orphaned_since < _GRACE_SECONDS
                send_signal(self.group, signal.SIGINT if is_in_grace else signal.SIGKILL)
        seconds = time.monotonic() - self._start
        send_signal(self.group, signal.SIGKILL)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        cpu_seconds, max_rss = _children_usage()
        return ResourceUsage(
            status, self._stop_requested, seconds, cpu_seconds - self._cpu_seconds_before, max(peak, max_rss)
        )

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stop_requested = True
        if self._process is not None:
            send_signal(self._process.pid, signal.SIGINT)


def send_signal(group: int, number: int) -> None:
    """Send a signal to a process group, if it exists."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def end_with_parent() -> None:
    """Runs in a new child: Ctrl-C works even if this program ignores it, and the child is killed with its parent.

    The latter on Linux only.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _has_owner() -> bool:
    import psutil

    owner = os.environ.get(OWNER_VARIABLE)
    if owner is None:
        return True
    try:
        return bool(psutil.Process(int(owner)).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _resident_bytes(process: int) -> int:
    import psutil

    try:
        parent = psutil.Process(process)
        processes = [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return 0
    total = 0
    for member in processes:
        with suppress(psutil.Error):
            total += member.memory_info().rss
    return total


def _children_usage() -> tuple[float, int]:
    """CPU seconds and peak bytes of ended children."""
    import resource

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
