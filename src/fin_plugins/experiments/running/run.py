"""A plan, run to its end: Snakemake is started and looked after."""

import re
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from fin_plugins.common import file_lock
from fin_plugins.common.atomic import remove_unfinished_files
from fin_plugins.common.errors import FinError
from fin_plugins.experiments.running import state
from fin_plugins.experiments.running.progress import Bar, Lines, Watch, shown
from fin_plugins.experiments.running.snakemake import LOG, Engine, Limits, check_installed, command_line
from fin_plugins.experiments.steps import Plan

_EVERY = 0.3  # seconds between two looks
_PATIENCE = 120.0  # seconds that steps have to stop: a training saves a checkpoint


@dataclass(frozen=True)
class Outcome:
    """How it ended.

    Attributes:
        failed: what is said of each step that failed.
        waiting: steps that were not run, because one before them failed.
        engine: Snakemake's exit status.
    """

    failed: dict[str, str]
    waiting: tuple[str, ...]
    engine: int


class Stopped(Exception):
    """Ctrl-C, or SIGTERM."""


def run_plan(
    plan: Plan,
    *,
    limits: Limits | None,
    profile: Path | None = None,
    more: Sequence[str] = (),
    seconds: Mapping[str, float] | None = None,
) -> Outcome:
    """Run what is not done.

    Args:
        plan: all steps, in order; those that are done are left alone.
        limits: what steps may take of this machine; None where a profile says who runs them.
        profile: Snakemake profile.
        more: further arguments for Snakemake.
        seconds: how long each step may take, roughly.

    Raises:
        FinError: Snakemake is missing, or another run is at work on the folder.
        Stopped: it was stopped, steps included; the same call goes on.
    """
    if not plan.to_do():
        return Outcome({}, (), 0)
    check_installed()
    with ExitStack() as stack:
        stack.enter_context(file_lock.exclusive(plan.work, "fin run"))
        _clear(plan)
        plan.write()
        watch = Watch(plan, seconds or {}, limits.cores if limits else _most_cores(plan))
        display = stack.enter_context(shown(watch))
        stack.enter_context(_Signals())
        engine = Engine(plan, command_line(plan, limits, profile, more), limits)
        try:
            while engine.status() is None:
                display.tell(watch.look())
                time.sleep(_EVERY)
        except KeyboardInterrupt:
            _stop(engine, watch, display)
            raise Stopped from None
        display.tell(watch.look())
    return _outcome(plan, watch, engine.status() or 0)


def _clear(plan: Plan) -> None:
    """Remove what earlier runs left: states of steps, unfinished files, and markers of the steps that run again."""
    for folder in {plan.work, *(plan.work / path for path in (state.RUNNING, state.FAILED)), *_marker_folders(plan)}:
        remove_unfinished_files(folder)
    for what in (state.RUNNING, state.FAILED):
        for file in (plan.work / what).glob("*.json"):
            file.unlink(missing_ok=True)
    for step in plan.to_do():
        for path in step.markers:
            (plan.work / path).unlink(missing_ok=True)


def _marker_folders(plan: Plan) -> set[Path]:
    return {(plan.work / path).parent for step in plan.steps for path in step.markers}


def _stop(engine: Engine, watch: Watch, display: "Lines | Bar") -> None:
    """Have Snakemake and the steps stop; with one more Ctrl-C, or when it takes too long, at once."""
    display.tell(["stopping: steps save what they have, which may take a minute (Ctrl-C again: at once)"])
    engine.stop()
    try:
        if not engine.wait(_PATIENCE):
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        watch.look()
        here = socket.gethostname()
        engine.kill([data["group"] for data in watch.running.values() if data["host"] == here])
    display.tell([line for line in watch.look() if not line.endswith("started")])


def _outcome(plan: Plan, watch: Watch, status: int) -> Outcome:
    if status and not watch.seen:
        raise FinError(f"Snakemake ended with exit status {status} before any step: {_last_word(plan)}")
    open_steps = [step for step in plan.steps if step.name not in watch.done]
    open_markers = {path for step in open_steps for path in step.markers}
    failed = {}
    for step in open_steps:
        if step.name in watch.failed:
            failed[step.name] = str(watch.failed[step.name]["why"])
        elif not open_markers & set(step.needs):
            failed[step.name] = "it was not run, or ended without a word (killed by the system or the cluster?)"
    return Outcome(failed, tuple(step.name for step in open_steps if step.name not in failed), status)


def _last_word(plan: Plan) -> str:
    text = (plan.work / LOG).read_text(encoding="utf-8", errors="replace")
    said = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [place for place, line in enumerate(said) if re.match(r"\w*(Error|Exception|error:)", line)]
    words = said[errors[-1] : errors[-1] + 2] if errors else said[-1:]
    return f"{' '.join(words)[:300]} (all that it said: {plan.work / LOG})"


def _most_cores(plan: Plan) -> int:
    return max((step.resources.cores for step in plan.steps), default=1) * 8  # a guess: what a cluster gives at once


class _Signals:
    """SIGTERM and a closed terminal stop a run as Ctrl-C does, even where we were started in the background."""

    _NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __enter__(self) -> None:
        self._before = [signal.signal(number, self._take) for number in self._NUMBERS]

    def __exit__(self, *_: object) -> None:
        for number, handler in zip(self._NUMBERS, self._before, strict=True):
            signal.signal(number, handler)

    @staticmethod
    def _take(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt
