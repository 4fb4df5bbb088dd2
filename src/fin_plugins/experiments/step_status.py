"""Status files of steps, which cluster nodes see too, and the progress of a run according to them.

Snakemake reports a job when it has submitted it; a step itself reports when it starts, and why it failed.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fin_plugins.common.atomic import write_file
from fin_plugins.common.formatting import duration
from fin_plugins.experiments.step_estimates import makespan
from fin_plugins.experiments.step_plan import Plan, Step

RUNNING, FAILED = "running", "failed"
"""Folders of status files in the work folder."""
_TAIL_BYTES = 2000
_LINE_LENGTH = 60
_MIN_SHARE_LEFT = 0.1  # of the time so far, for a step that takes longer than estimated


def write_status(plan: Plan, step: Step, state: str, data: dict[str, Any]) -> None:
    """Write a step's status file."""
    write_json(plan.work / state / f"{step.name}.json", {"step": step.name, "key": step.key, **data})


def clear_status(plan: Plan, step: Step, state: str) -> None:
    """Remove a step's status file."""
    (plan.work / state / f"{step.name}.json").unlink(missing_ok=True)


def read_status(plan: Plan, state: str) -> dict[str, dict[str, Any]]:
    """Contents of the status files of the plan's steps, by step name; those of earlier plans are left out."""
    keys = {step.name: step.key for step in plan.steps}
    status = {}
    for file in (plan.work / state).glob("*.json"):
        data = read_json(file)
        if data and keys.get(data["step"]) == data["key"]:
            status[str(data["step"])] = data
    return status


def write_json(file: Path, data: dict[str, Any]) -> None:
    """Write a JSON file atomically."""
    write_file(file, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def read_json(file: Path) -> dict[str, Any] | None:
    """Content of a JSON file; None if it is gone: a step that ends meanwhile removes its status file."""
    try:
        data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data


class RunProgress:
    """The progress of a run.

    Attributes:
        plan: the plan.
        complete: names of complete steps.
        running: status of the running steps, by name.
        failed: status of the failed steps, by name.
        seen: names of all steps that have started.
    """

    def __init__(self, plan: Plan, seconds: Mapping[str, float], cores: int) -> None:
        """Start from the markers that exist.

        Args:
            plan: the plan.
            seconds: estimated time of the steps, by name; may be incomplete.
            cores: cores that all steps together may use.
        """
        self.plan, self._seconds, self._cores = plan, seconds, cores
        self.running: dict[str, dict[str, Any]] = {}
        self.failed: dict[str, dict[str, Any]] = {}
        self.complete = {step.name for step in plan.steps if plan.is_complete(step)}
        self.seen: set[str] = set()
        self._pending = [step for step in plan.steps if step.name not in self.complete]
        self._actual, self._estimated = 0.0, 0.0  # total seconds of the steps that have ended

    def poll(self) -> list[str]:
        """Read the status files; returns a line for each step that has started, ended or failed since the last call."""
        running, failed = read_status(self.plan, RUNNING), read_status(self.plan, FAILED)
        ended = [step for step in self._pending if self.plan.is_complete(step)]
        self.complete |= {step.name for step in ended}
        self._pending = [step for step in self._pending if step.name not in self.complete]
        running_before, failed_before = self.running, self.failed
        self.running = {name: status for name, status in running.items() if name not in self.complete}
        self.failed = failed
        self.seen |= {*self.running, *self.failed, *(step.name for step in ended)}
        return [
            *(f"{name} started" for name in self.running if name not in running_before),
            *(f"{step.name} done{self._record_time(step)}" for step in ended),
            *(self._failure(name, status) for name, status in failed.items() if name not in failed_before),
        ]

    def describe_running(self) -> str:
        """One line per running step: its name, the time since it started, and the last line of its log."""
        lines = []
        for step in self.plan.steps:
            if step.name in self.running:
                elapsed = max(0.0, time.time() - self.running[step.name]["started"])
                lines.append(f"{step.name}  {duration(elapsed)}  {last_log_line(self.plan, step)}")
        return "\n".join(lines)

    def count(self) -> str:
        """Number of complete steps, for example `3/15`."""
        return f"{len(self.complete)}/{len(self.plan.steps)}"

    def seconds_left(self) -> float | None:
        """Estimated seconds until the run ends; None if unknown."""
        if any(step.name not in self._seconds for step in self._pending):
            return None
        pace = self._pace()
        return makespan(self._pending, {step.name: self._step_left(step, pace) for step in self._pending}, self._cores)

    def time_left(self) -> str:
        """The estimated time left, to follow other text; empty if unknown or if all is complete."""
        seconds = self.seconds_left() if self._pending else None
        return f", about {duration(seconds)} left" if seconds else ""

    def _step_left(self, step: Step, pace: float) -> float:
        """Seconds left of a step; a running one always has some left."""
        elapsed = time.time() - self.running[step.name]["started"] if step.name in self.running else 0.0
        return max(self._seconds[step.name] * pace - elapsed, _MIN_SHARE_LEFT * elapsed)

    def _pace(self) -> float:
        """Actual over estimated time. Pending steps count as estimated, which damps the first steps' influence."""
        pending = sum(self._seconds[step.name] for step in self._pending)
        return (self._actual + pending) / ((self._estimated + pending) or 1)

    def _record_time(self, step: Step) -> str:
        record = read_json(self.plan.work / step.markers[0])
        if record is None:
            return ""
        if step.name in self._seconds:
            self._actual += record["seconds"]
            self._estimated += self._seconds[step.name]
        return f" in {duration(record['seconds'])}"

    def _failure(self, name: str, status: dict[str, Any]) -> str:
        step = next(step for step in self.plan.steps if step.name == name)
        return f"{name} FAILED after {duration(status['seconds'])}: {status['why']}: {last_log_line(self.plan, step)}"


def last_log_line(plan: Plan, step: Step) -> str:
    """The last line of a step's log, shortened; the last state of a progress bar counts as a line."""
    lines = log_tail(plan, step, 1)
    return lines[0][:_LINE_LENGTH] if lines else ""


def log_tail(plan: Plan, step: Step, count: int) -> list[str]:
    """The last lines of a step's log that are not empty."""
    try:
        with (plan.work / step.log).open("rb") as log:
            log.seek(max(0, log.seek(0, 2) - _TAIL_BYTES))
            text = log.read().decode("utf-8", "replace")
    except OSError:
        return []
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines()]
    return [line for line in lines if line and not line.startswith("# 20")][-count:]
