"""One step: `python -m fin_plugins.experiments.running.step PLAN NAME`, which Snakemake calls, here or on a node."""

import os
import shlex
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from fin_plugins.common import file_lock
from fin_plugins.common.errors import FinError
from fin_plugins.experiments.running import gpus, state
from fin_plugins.experiments.running.command import Running, Spent
from fin_plugins.experiments.running.marker import contents
from fin_plugins.experiments.steps import Plan, Step, read_plan

_STOPPED = 128 + signal.SIGINT


def run_step(plan: Plan, step: Step) -> int:
    """Run a step's command, its output in its log; the markers are written last.

    While it runs, `running/` says so; when it failed, `failed/` does. Where another process runs the same step, it is
    waited for: what that made is what this one was to make.

    Returns:
        Exit status: 0 where the step is done.
    """
    with file_lock.blocking(plan.work / "running" / f".{step.name}-{step.key}.lock") as held:
        if plan.done(step):
            return 0
        with gpus.taken(step.resources.gpus) as (variables, devices):
            started = time.time()
            spent = _run(plan, step, variables, [held, *devices])
        if spent.stopped and spent.status:
            return _STOPPED
        missing = [path for path in step.outputs if not (plan.work / path).exists()]
        if spent.status or missing:
            why = _ended(spent.status) if spent.status else f"it made no {missing[0]}"
            state.write(plan, step, state.FAILED, {"why": why, "seconds": spent.seconds})
            return 1
        told = contents(plan, step, spent, started)
        for path in step.markers:
            state.write_json(plan.work / path, told)
        return 0


def _run(plan: Plan, step: Step, variables: dict[str, str], keep: Sequence[int]) -> Spent:
    environment = {**os.environ, **plan.environment, **variables}
    log = plan.work / step.log
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as written:
        written.write(f"# {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {shlex.join(step.command)}\n".encode())
        written.flush()
        running = Running(vector(step.command), plan.work, written, environment, keep)
        state.write(
            plan,
            step,
            state.RUNNING,
            {"host": socket.gethostname(), "pid": os.getpid(), "group": running.group, "started": time.time()},
        )
        try:
            return running.finish()
        finally:
            state.clear(plan, step, state.RUNNING)


def vector(command: Sequence[str]) -> list[str]:
    """The command with this interpreter's program in place of a leading `fin`."""
    if command[0] != "fin":
        return list(command)
    return [sys.executable, "-c", "from fin_plugins.cli.main import main; main()", *command[1:]]


def _ended(status: int) -> str:
    if status < 0:
        return f"it was ended by {signal.Signals(-status).name}" + (" (out of memory?)" if status == -9 else "")
    return f"it ended with exit status {status}"


def _copy_markers(plan: Plan, step: Step, copies: Iterable[Path]) -> None:
    """Put the markers where Snakemake looks for them: elsewhere, where a cluster has storage between its nodes."""
    for path, copy in zip(step.markers, copies, strict=False):
        if copy.resolve() != (plan.work / path).resolve():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(plan.work / path, copy)


def main() -> None:
    """Run the step that the command line names; after its name, where Snakemake wants the markers."""
    try:
        file, name, *copies = sys.argv[1:]
        plan = read_plan(Path(file))
        step = next(step for step in plan.steps if step.name == name)
        status = run_step(plan, step)
        if status == 0:
            _copy_markers(plan, step, map(Path, copies))
        sys.exit(status)
    except FinError as error:
        print(f"fin: error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
