"""Shared by the benchmarks: commands and workers with their wall time, CPU time and peak memory; options; tables.

Imports only the standard library, because the measuring process must stay small: Linux counts the parent's memory at
the moment of the fork as the child's.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import date
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
MODEL_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_CPU_KVCACHE_SPACE": "2",
    "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
}
"""For commands that load models: no downloads; on a CPU, vLLM uses all cores and a KV cache of 2 GiB."""
_RESULT_MARK = "RESULT"


@dataclass(frozen=True)
class Cost:
    """Cost of one run.

    Attributes:
        wall: wall time in seconds.
        cpu: CPU time in seconds.
        mib: peak resident memory of the largest process in MiB.
    """

    wall: float
    cpu: float
    mib: float


def run(command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> Cost:
    """Run `command` once and discard its output; `env` is added to this process's environment.

    Raises:
        SystemExit: the command failed; the message ends with its last lines.
    """
    start = time.perf_counter()
    child = subprocess.Popen(
        [str(word) for word in command],
        env={**os.environ, **(env or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
    )
    assert child.stderr is not None
    errors = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(str(word) for word in command)}: failed\n{errors[-2000:]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def median(costs: Sequence[Cost]) -> Cost:
    """The median of each figure, taken separately."""
    return Cost(*(statistics.median(figures) for figures in zip(*map(astuple, costs), strict=True)))


def run_in_turns(times: int, commands: Mapping[str, tuple[Sequence[str | Path], Mapping[str, str]]]) -> dict[str, Cost]:
    """Median cost of `times` runs of each command, alternating so that other load on the machine affects all alike."""
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(times):
        for name, (command, env) in commands.items():
            costs[name].append(run(command, env))
    return {name: median(runs) for name, runs in costs.items()}


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser whose help shows a module's docstring as written."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_mirror_option(parser: argparse.ArgumentParser) -> None:
    """Add `--mirror`, the raw data for `row_source`."""
    parser.add_argument(
        "--mirror",
        type=Path,
        default=os.environ.get("FIN_TEST_MIRROR"),
        help="folder with the raw data, for real rows (default: FIN_TEST_MIRROR)",
    )


def row_source(mirror: Path | None, scratch: Path) -> dict[str, str]:
    """Environment variables that select the rows of the tasks.

    With a mirror, its real rows, fetched into `scratch`; otherwise FIN_DATA, by default the sample rows.
    """
    if mirror is None:
        return {"FIN_DATA": os.environ.get("FIN_DATA", "sample")}
    env = {"FIN_DATA": "real", "FIN_DATA_DIR": str(scratch / "data")}
    run([BIN / "fin", "data", "fetch", "--mirror", mirror.resolve()], env)
    return env


def run_worker(file: str | Path, job: Mapping[str, Any], env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run `file --worker JOB` in a separate process and return what it passes to `report_result`.

    Memory and caches of a job are then its own.

    Raises:
        SystemExit: the worker failed; the message ends with its last lines.
    """
    command = [sys.executable, str(file), "--worker", json.dumps(job, default=str)]
    process = subprocess.run(command, env={**os.environ, **(env or {})}, capture_output=True, text=True)
    if process.returncode:
        raise SystemExit(f"{job}: failed\n{process.stderr[-4000:]}")
    result: dict[str, Any] = json.loads(process.stdout.rpartition(_RESULT_MARK)[2])
    return result


def report_result(result: Mapping[str, Any]) -> None:
    """Pass a worker's result to `run_worker`, marked because libraries print too."""
    print(_RESULT_MARK + json.dumps(result), flush=True)


def total_peak_memory() -> float:
    """Peak resident memory of this process plus those of its descendants, MiB."""
    import psutil

    this = psutil.Process()
    return sum(peak_memory_of(process.pid) for process in [this, *this.children(recursive=True)])


def peak_memory_of(pid: int) -> float:
    """Peak resident memory of a process, MiB, as recorded by the kernel.

    Unlike `ru_maxrss`, it excludes the parent's memory at the fork.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def print_row(*cells: object) -> None:
    """Print one row of a Markdown table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def print_progress(line: str) -> None:
    """Print a line of progress to standard error."""
    print(f"… {line}", file=sys.stderr, flush=True)


def machine_summary() -> str:
    """Date, architecture, number of cores and Python version."""
    return f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
