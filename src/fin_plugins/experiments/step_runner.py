"""Runs one step: `python -m fin_plugins.experiments.step_runner PLAN NAME [MARKER …]`, called by Snakemake.

Each step is locked and its process group is ours (`step_process`), although Snakemake starts it: jobs that a killed run
left on a cluster may still work when the next run starts them again, and Snakemake measures no memory of local jobs.
"""

import importlib.metadata
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
from typing import Any

from fin_plugins.common import file_lock
from fin_plugins.common.errors import FinError
from fin_plugins.experiments.machine_limits import reserve_gpus
from fin_plugins.experiments.step_plan import Plan, Step, read_plan
from fin_plugins.experiments.step_process import ResourceUsage, StepProcess
from fin_plugins.experiments.step_status import FAILED, RUNNING, clear_status, read_json, write_json, write_status

_STOPPED = 128 + signal.SIGINT
_ENGINES = ("vllm", "mergekit", "snakemake")


def run_step(plan: Plan, step: Step) -> int:
    """Run a step's command with its output in the step's log; the markers are written last.

    `running/` lists the step while it runs, `failed/` if it failed. If another process runs the same step, this one
    waits for it and uses its result.

    Returns:
        Exit status: 0 if the step is complete.
    """
    with file_lock.blocking(plan.work / "running" / f".{step.name}-{step.key}.lock") as lock:
        if plan.is_complete(step):
            return 0
        with reserve_gpus(step.resources.gpus) as (variables, gpu_locks):
            started = time.time()
            usage = _run_command(plan, step, variables, [lock, *gpu_locks])
        if usage.was_stopped and usage.status:
            return _STOPPED
        missing = [path for path in step.outputs if not (plan.work / path).exists()]
        if usage.status or missing:
            why = _describe_status(usage.status) if usage.status else f"it did not make {missing[0]}"
            write_status(plan, step, FAILED, {"why": why, "seconds": usage.seconds})
            return 1
        record = _record(plan, step, usage, started)
        for path in step.markers:
            write_json(plan.work / path, record)
        return 0


def _run_command(plan: Plan, step: Step, variables: dict[str, str], inherited: Sequence[int]) -> ResourceUsage:
    environment = {**os.environ, **plan.environment, **variables}
    log_file = plan.work / step.log
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("ab") as log:
        log.write(f"# {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {shlex.join(step.command)}\n".encode())
        log.flush()
        process = StepProcess(_resolve_program(step.command), plan.work, log, environment, inherited)
        status = {"host": socket.gethostname(), "pid": os.getpid(), "group": process.group, "started": time.time()}
        write_status(plan, step, RUNNING, status)
        try:
            return process.finish()
        finally:
            clear_status(plan, step, RUNNING)


def _resolve_program(command: Sequence[str]) -> list[str]:
    """The command with a leading `fin` replaced by this interpreter's installation."""
    if command[0] != "fin":
        return list(command)
    return [sys.executable, "-c", "from fin_plugins.cli.main import main; main()", *command[1:]]


def _describe_status(status: int) -> str:
    if status < 0:
        return f"it was ended by {signal.Signals(-status).name}" + (" (out of memory?)" if status == -9 else "")
    return f"it ended with exit status {status}"


def _record(plan: Plan, step: Step, usage: ResourceUsage, started: float) -> dict[str, Any]:
    """Content of the markers of a complete step."""
    return {
        "step": step.name,
        "kind": step.kind,
        "key": step.key,
        "command": list(step.command),
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "seconds": round(usage.seconds, 3),
        "cpu_seconds": round(usage.cpu_seconds, 3),
        "peak_bytes": usage.peak_bytes,
        "bytes": sum(map(_size, _written_paths(plan, step))),
        "rows": step.rows,
        "engines": step.engines,
        "host": socket.gethostname(),
        "versions": _versions(),
    }


def _written_paths(plan: Plan, step: Step) -> set[Path]:
    """What a step wrote: the folders that end in its key, or the outputs themselves.

    The output of a score step is a list of files, as `fin eval --written` makes it; these count too.
    """
    paths = set()
    for output in map(Path, step.outputs):
        keyed = [path for path in (output, *output.parents) if path.name.endswith(step.key)]
        paths.add(plan.work / (keyed[-1] if keyed else output))
        if step.kind == "score":
            listed = (read_json(plan.work / output) or {}).get("files", [])
            paths |= {(plan.work / output).parent / path for path in listed}
    return paths


def _size(path: Path) -> int:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file() and not file.is_symlink())


def _versions() -> dict[str, str]:
    from fin_plugins.training.machine import versions

    installed = versions()
    for name in _ENGINES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def _copy_markers(plan: Plan, step: Step, copies: Iterable[Path]) -> None:
    """Copy the markers to where Snakemake expects them, if a cluster's nodes exchange files through storage."""
    for path, copy in zip(step.markers, copies, strict=False):
        if copy.resolve() != (plan.work / path).resolve():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(plan.work / path, copy)


def main() -> None:
    """Run the step that the command line names; further arguments are where Snakemake expects the markers."""
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
