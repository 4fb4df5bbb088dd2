"""Runs a plan: starts Snakemake, shows progress, and stops it with all its steps on Ctrl-C.

Snakemake chooses the order, counts cores, memory and GPUs, and talks to clusters. These jobs stay ours:

- The lock of the work folder (`--nolock`): Snakemake's lock file survives `kill -9` and blocks the next run until
  `--unlock`; ours is freed by the kernel with the process.
- Resuming (`--drop-metadata`): Snakemake decides by file times and its own records; a step's key is a hash of content,
  so a copied or touched folder runs nothing again, and a changed prompt runs all that depends on it.
- Stopping: Snakemake waits for running jobs on SIGTERM and leaves children of a job behind; steps get Ctrl-C, time to
  save a checkpoint, and SIGKILL for their whole process group.
- Progress: Snakemake logs submissions; `step_status` knows starts, causes of failure and the time left.
"""

import importlib.util
import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from fin_plugins.common import file_lock
from fin_plugins.common.atomic import remove_unfinished_files, write_file
from fin_plugins.common.console import say
from fin_plugins.common.errors import FinError
from fin_plugins.common.locations import experiment_folder
from fin_plugins.common.progress import progress
from fin_plugins.experiments.machine_limits import GPUS_VARIABLE, Limits
from fin_plugins.experiments.step_plan import Plan
from fin_plugins.experiments.step_process import OWNER_VARIABLE, end_with_parent, send_signal
from fin_plugins.experiments.step_status import FAILED, RUNNING, RunProgress

LOG = "logs/snakemake.log"
_SNAKEFILE = "Snakefile"
_PROFILE_FILES = ("config.yaml", "profile.yaml")
_POLL_SECONDS = 0.3
_STOP_SECONDS = 120.0  # time for steps to stop: a training saves a checkpoint
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended.

    Attributes:
        failed: cause of failure by step name.
        skipped: steps that did not run because an earlier one failed.
        status: Snakemake's exit status.
    """

    failed: dict[str, str]
    skipped: tuple[str, ...]
    status: int


class Stopped(Exception):
    """The run was stopped by Ctrl-C, SIGTERM or SIGHUP."""


def run_plan(
    plan: Plan,
    *,
    limits: Limits | None,
    profile: Path | None = None,
    extra_arguments: Sequence[str] = (),
    seconds: Mapping[str, float] | None = None,
) -> RunOutcome:
    """Run the pending steps.

    Args:
        plan: all steps in order; complete ones are left alone.
        limits: resources of this machine; None if a profile has a cluster run the steps.
        profile: folder of a Snakemake profile.
        extra_arguments: further arguments for Snakemake.
        seconds: estimated time of the steps, by name.

    Raises:
        FinError: Snakemake is not installed, or another run uses the work folder.
        Stopped: the run and its steps were stopped; calling again resumes.
    """
    if not plan.pending():
        return RunOutcome({}, (), 0)
    check_installed()
    with file_lock.exclusive(plan.work, "fin run"):
        _remove_leftovers(plan)
        plan.write()
        run = RunProgress(plan, seconds or {}, limits.cores if limits else _guess_cluster_cores(plan))
        with progress("steps", len(plan.steps), interval=math.inf) as bar, _stop_signals():
            snakemake = _start_snakemake(plan, command_line(plan, limits, profile, extra_arguments), limits)
            try:
                while snakemake.poll() is None:
                    _report(run, run.poll())
                    bar.update(len(run.complete), detail=run.describe_running())
                    time.sleep(_POLL_SECONDS)
            except KeyboardInterrupt:
                _stop(snakemake, run)
                raise Stopped from None
            _report(run, run.poll())
    return _outcome(run, snakemake.returncode)


def check_installed() -> None:
    """Check that Snakemake is installed.

    Raises:
        FinError: it is not.
    """
    if importlib.util.find_spec("snakemake") is None:
        raise FinError('Snakemake, which runs the steps, is not installed: `pip install "fin-plugins[run]"`')


def profile_folder(name_or_path: str) -> Path:
    """The folder of a profile: a path, or the name of a bundled profile.

    Raises:
        FinError: neither exists.
    """
    bundled = experiment_folder() / "profiles"
    for folder in (Path(name_or_path), bundled / name_or_path):
        if any((folder / file).is_file() for file in _PROFILE_FILES):
            return folder.resolve()
    names = ", ".join(sorted(folder.name for folder in bundled.iterdir() if folder.is_dir()))
    raise FinError(f"--profile {name_or_path}: not a folder with a config.yaml, nor a bundled profile ({names})")


def command_line(
    plan: Plan, limits: Limits | None, profile: Path | None, extra_arguments: Sequence[str] = ()
) -> list[str]:
    """Snakemake's command line: independent steps go on after a failure, and only a missing marker makes a step run.

    Args:
        plan: a plan that has been written.
        limits: resources of this machine, if it runs the steps.
        profile: folder of a cluster's profile.
        extra_arguments: the user's arguments.
    """
    limit_arguments: list[str] = []
    if limits is not None:
        memory, gpus = f"mem_mb={int(limits.memory_gb * 1000)}", f"gpu={len(limits.gpus)}"
        limit_arguments = ["--cores", str(limits.cores), "--resources", memory, gpus]
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(plan.work / _SNAKEFILE)),
        *("--directory", str(plan.work), "--workflow-profile", "none", "--profile", str(profile or "none")),
        *("--nolock", "--rerun-incomplete", "--drop-metadata", "--keep-going", "--nocolor"),
        *("--scheduler", "greedy"),  # the default calls a solver, too much for a few dozen steps
        *(_storage_arguments(plan, profile) if profile is not None else ()),
        *limit_arguments,
        *extra_arguments,
    ]


def _storage_arguments(plan: Plan, profile: Path) -> list[str]:
    """The work folder as storage between nodes, if the profile uses storage and names no folder."""
    import yaml

    file = next(file for name in _PROFILE_FILES if (file := profile / name).is_file())
    options = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    if "default-storage-provider" not in options or "default-storage-prefix" in options:
        return []
    return ["--default-storage-prefix", str(plan.work)]


def _start_snakemake(plan: Plan, command: Sequence[str], limits: Limits | None) -> subprocess.Popen[bytes]:
    """Start Snakemake with its output in `logs/snakemake.log`. It ends with this process, and so do its local steps."""
    # A copy of the workflow in the work folder: Snakemake sends it to nodes that share nothing else.
    write_file(plan.work / _SNAKEFILE, (experiment_folder() / _SNAKEFILE).read_text(encoding="utf-8"))
    log_file = plan.work / LOG
    log_file.parent.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name not in (GPUS_VARIABLE, OWNER_VARIABLE)}
    if limits is not None:  # on a cluster, steps go on without us
        environment |= {GPUS_VARIABLE: ",".join(limits.gpus), OWNER_VARIABLE: str(os.getpid())}
    with log_file.open("wb") as log:
        return subprocess.Popen(
            command,
            cwd=plan.work,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )


def _report(run: RunProgress, events: Sequence[str]) -> None:
    for event in events:
        say(f"[{run.count()}] {event}{run.time_left()}")


def _stop(snakemake: subprocess.Popen[bytes], run: RunProgress) -> None:
    """Interrupt Snakemake and the steps; kill them on another Ctrl-C, or when it takes too long."""
    say("stopping: steps save what they have, which may take a minute (Ctrl-C again: stop at once)")
    send_signal(snakemake.pid, signal.SIGINT)
    try:
        snakemake.wait(_STOP_SECONDS)
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        run.poll()
        host = socket.gethostname()
        groups = [status["group"] for status in run.running.values() if status["host"] == host]
        for group in (snakemake.pid, *groups):
            send_signal(group, signal.SIGKILL)
        snakemake.wait()
    _report(run, [event for event in run.poll() if not event.endswith("started")])


def _remove_leftovers(plan: Plan) -> None:
    """Remove what earlier runs left: status files, unfinished files, and markers of the steps that run again."""
    marker_folders = {(plan.work / path).parent for step in plan.steps for path in step.markers}
    for folder in {plan.work, plan.work / RUNNING, plan.work / FAILED, *marker_folders}:
        remove_unfinished_files(folder)
    for state in (RUNNING, FAILED):
        for file in (plan.work / state).glob("*.json"):
            file.unlink(missing_ok=True)
    for step in plan.pending():
        for path in step.markers:
            (plan.work / path).unlink(missing_ok=True)


def _outcome(run: RunProgress, status: int) -> RunOutcome:
    if status and not run.seen:
        raise FinError(f"Snakemake ended with exit status {status} before any step: {_last_error(run.plan)}")
    pending = [step for step in run.plan.steps if step.name not in run.complete]
    pending_markers = {path for step in pending for path in step.markers}
    failed = {}
    for step in pending:
        if step.name in run.failed:
            failed[step.name] = str(run.failed[step.name]["why"])
        elif not pending_markers & set(step.needs):
            failed[step.name] = "it was not run, or ended without a message (killed by the system or the cluster?)"
    return RunOutcome(failed, tuple(step.name for step in pending if step.name not in failed), status)


def _last_error(plan: Plan) -> str:
    """The last error in Snakemake's log, else its last line."""
    text = (plan.work / LOG).read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [index for index, line in enumerate(lines) if re.match(r"\w*(Error|Exception|error:)", line)]
    excerpt = lines[errors[-1] : errors[-1] + 2] if errors else lines[-1:]
    return f"{' '.join(excerpt)[:300]} (its log: {plan.work / LOG})"


def _guess_cluster_cores(plan: Plan) -> int:
    return max((step.resources.cores for step in plan.steps), default=1) * 8


@contextmanager
def _stop_signals() -> Iterator[None]:
    """Let SIGTERM and a closed terminal stop a run as Ctrl-C does, even if it was started in the background."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    handlers = {number: signal.signal(number, interrupt) for number in _STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
