"""Progress on standard error: a bar on a terminal, a plain line now and then in a log."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from threading import Event, Thread

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from fin_plugins.common.console import say
from fin_plugins.common.formatting import duration, size

BYTES = "bytes"
"""The unit of a download: shown as megabytes, with the speed."""
LINE_INTERVAL = 10.0
"""Seconds between two plain lines."""


class Counter:
    """Counts units of work that are done, and shows the count.

    Nothing shows before the first unit is done, so a library that draws its own bar meanwhile is left alone.
    """

    def __init__(self, unit: str, total: float | None, label: str, interval: float) -> None:
        self._unit, self._total, self._label, self._interval = unit, total, label, interval
        self._done = 0.0
        self._detail = ""
        self._start = self._last_line = time.monotonic()
        self._bar: Progress | None = None
        self._terminal = sys.stderr.isatty()

    def advance(self, count: float = 1) -> None:
        """Count units just done; a part of a unit counts as a fraction."""
        self.update(self._done + count)

    def update(self, done: float, total: float | None = None, *, detail: str = "") -> None:
        """Set how many units are done, and their total if it was unknown.

        Args:
            done: number of units that are done.
            total: number of all units; None leaves it as it is.
            detail: lines that follow the bar on a terminal, for example one per job that is running.
        """
        self._done, self._total, self._detail = done, self._total if total is None else total, detail
        if self._terminal:
            self._draw()
        else:
            self._print()

    def close(self) -> None:
        """Remove the bar; plain lines stay."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _draw(self) -> None:
        if self._bar is None:
            # Output to a standard output that is not a terminal must go there, not above the bar.
            stdout = sys.stdout.isatty()
            columns, console = self._columns(), Console(stderr=True)
            self._bar = Progress(*columns, console=console, transient=True, redirect_stdout=stdout)
            self._bar.add_task(self._label, total=self._total, detail="")
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=self._done, total=self._total, detail=self._detail)

    def _columns(self) -> list[ProgressColumn]:
        label = [TextColumn("{task.description}", markup=False)] if self._label else []
        if self._unit == BYTES:
            return [*label, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()]
        unit = TextColumn(self._unit, markup=False)
        detail = TextColumn("{task.fields[detail]}", markup=False)
        return [*label, BarColumn(bar_width=24), MofNCompleteColumn(), unit, TimeRemainingColumn(), detail]

    def _print(self) -> None:
        now = time.monotonic()
        finished = self._total is not None and self._done >= self._total
        if now - self._last_line < self._interval or finished:
            return
        self._last_line = now
        total = "" if self._total is None else f" of {self._amount(self._total)}"
        count = f"{self._amount(self._done)}{total}{'' if self._unit == BYTES else f' {self._unit}'}"
        left = ""
        if self._total is not None and self._done > 0:
            left = f", {duration((now - self._start) / self._done * (self._total - self._done))} left"
        say(f"{self._label}: {count}{left}" if self._label else f"{count}{left}")

    def _amount(self, count: float) -> str:
        return size(int(count)) if self._unit == BYTES else str(int(count))


@contextmanager
def progress(
    unit: str, total: float | None = None, *, label: str = "", interval: float = LINE_INTERVAL
) -> Iterator[Counter]:
    """Show how many units of work are done.

    Args:
        unit: plural noun, for example `tensors`; `BYTES` for a download.
        total: number of units; None if unknown so far.
        label: what is being worked on, shown in front.
        interval: seconds between two plain lines.

    Yields:
        The counter to advance or update.
    """
    counter = Counter(unit, total, label, interval)
    try:
        yield counter
    finally:
        counter.close()


@contextmanager
def heartbeat(activity: str, interval: float = 5.0) -> Iterator[None]:
    """Print a line with the time elapsed at every interval, for work that cannot be counted.

    A thread prints it, so the work needs no callback. Work shorter than one interval prints nothing.

    Args:
        activity: what is going on, for example `reading result files`.
        interval: seconds between two lines, and before the first.
    """
    finished, start = Event(), time.monotonic()
    context = click.get_current_context(silent=True)  # click keeps one per thread

    def beat() -> None:
        with context.scope(cleanup=False) if context else nullcontext():
            while not finished.wait(interval):
                say(f"{activity}, {time.monotonic() - start:.0f} s")

    thread = Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
