"""What `fin run` shows while steps run: a bar and what runs on a terminal, plain lines elsewhere. On standard error."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fin_plugins.common.formatting import duration
from fin_plugins.experiments.planning.estimate import together
from fin_plugins.experiments.running import state
from fin_plugins.experiments.steps import Plan, Step

_TAIL = 2000  # bytes of a log, enough for its last line
_WIDE = 60
_SOME = 0.1  # of the time so far, is left of a step that takes longer than expected


class Watch:
    """Looks at a plan's work folder, and tells what has changed since the last look.

    Attributes:
        plan: the plan.
        done: names of steps that are done.
        running: what those say that run.
        failed: what those say that failed.
        seen: names of steps that were seen at work.
    """

    def __init__(self, plan: Plan, seconds: Mapping[str, float], cores: int) -> None:
        """Take a plan whose steps' markers tell what is done.

        Args:
            plan: the plan.
            seconds: how long each step may take, roughly, as far as that is known.
            cores: that steps run on at once.
        """
        self.plan, self._seconds, self._cores = plan, seconds, cores
        self.running: dict[str, dict[str, Any]] = {}
        self.failed: dict[str, dict[str, Any]] = {}
        self.done = {step.name for step in plan.steps if plan.done(step)}
        self.seen: set[str] = set()
        self._open = [step for step in plan.steps if step.name not in self.done]
        self._took, self._expected = 0.0, 0.0  # seconds of the steps that ended so far

    def look(self) -> list[str]:
        """What has happened: a line for each step that started, ended or failed."""
        running, failed = state.read(self.plan, state.RUNNING), state.read(self.plan, state.FAILED)
        ended = [step for step in self._open if self.plan.done(step)]
        self.done |= {step.name for step in ended}
        self._open = [step for step in self._open if step.name not in self.done]
        before, self.running = self.running, {name: data for name, data in running.items() if name not in self.done}
        new = {name: data for name, data in failed.items() if name not in self.failed}
        self.failed = failed
        self.seen |= {*self.running, *self.failed, *(step.name for step in ended)}
        return [
            *(f"{name} started" for name in self.running if name not in before),
            *(f"{step.name} done{self._count(step)}" for step in ended),
            *(self._failure(name, data) for name, data in new.items()),
        ]

    def count(self) -> str:
        """How far it is, as `3/15`."""
        return f"{len(self.done)}/{len(self.plan.steps)}"

    def left(self) -> float | None:
        """Seconds left, roughly; None: unknown."""
        if any(step.name not in self._seconds for step in self._open):
            return None
        pace = self._pace()
        return together(self._open, {step.name: self._own(step, pace) for step in self._open}, self._cores)

    def said(self, name: str) -> str:
        """The last line of a step's log."""
        step = next(step for step in self.plan.steps if step.name == name)
        return last_line(self.plan, step)

    def _own(self, step: Step, pace: float) -> float:
        """What is left of a step, at the pace of those that ended; one that goes on has some left."""
        whole = self._seconds[step.name] * pace
        since = time.time() - self.running[step.name]["started"] if step.name in self.running else 0.0
        return max(whole - since, _SOME * since)

    def _pace(self) -> float:
        """Times as long as expected. Steps to come count as expected, so that the first to end turn little."""
        to_come = sum(self._seconds[step.name] for step in self._open)
        return (self._took + to_come) / ((self._expected + to_come) or 1)

    def _count(self, step: Step) -> str:
        told = state.read_json(self.plan.work / step.markers[0])
        if told is None:
            return ""
        if step.name in self._seconds:
            self._took, self._expected = self._took + told["seconds"], self._expected + self._seconds[step.name]
        return f" in {duration(told['seconds'])}"

    def _failure(self, name: str, data: dict[str, Any]) -> str:
        return f"{name} FAILED after {duration(data['seconds'])}: {data['why']}: {self.said(name)}"


def last_line(plan: Plan, step: Step) -> str:
    """The last line of a step's log that says something, shortened; a bar's last state counts as a line."""
    lines = tail(plan, step, 1)
    return lines[0][:_WIDE] if lines else ""


def tail(plan: Plan, step: Step, count: int) -> list[str]:
    """The last lines of a step's log."""
    try:
        with (plan.work / step.log).open("rb") as log:
            log.seek(max(0, log.seek(0, 2) - _TAIL))
            text = log.read().decode("utf-8", "replace")
    except OSError:
        return []
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines()]
    return [line for line in lines if line and not line.startswith("# 20")][-count:]


@contextmanager
def shown(watch: Watch) -> Iterator["Lines | Bar"]:
    """Something to tell after each look."""
    display = Bar(watch) if sys.stderr.isatty() else Lines(watch)
    try:
        yield display
    finally:
        display.close()


class Lines:
    """A line for each thing that happens."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def tell(self, lines: list[str]) -> None:
        """Write what happened, with what is left."""
        for line in lines:
            print(f"fin run: [{self._watch.count()}] {line}{_left(self._watch)}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing is left on the screen."""


class Bar:
    """A bar of steps, with a line below for each that runs."""

    def __init__(self, watch: Watch) -> None:
        from rich.console import Console
        from rich.live import Live

        self._watch = watch
        self._live = Live(console=Console(file=sys.stderr), refresh_per_second=2, transient=True)
        self._live.start()

    def tell(self, lines: list[str]) -> None:
        """Write ends and failures above, and draw the rest anew."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        for line in lines:
            if not line.endswith(" started"):
                self._live.console.print(f"[{self._watch.count()}] {line}", markup=False, highlight=False)
        grid = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=len(self._watch.plan.steps), completed=len(self._watch.done), width=24)
        grid.add_row(bar, Text(f"{self._watch.count()} steps{_left(self._watch)}"))
        now = Table.grid(padding=(0, 2))
        for name, data in self._watch.running.items():
            since = duration(max(0.0, time.time() - data["started"]))
            now.add_row(Text(f"  {name}"), Text(since, justify="right"), Text(self._watch.said(name), style="dim"))
        self._live.update(Group(grid, now))

    def close(self) -> None:
        """Take it away."""
        self._live.stop()


def _left(watch: Watch) -> str:
    left = watch.left() if len(watch.done) < len(watch.plan.steps) else None
    return f", about {duration(left)} left" if left else ""
