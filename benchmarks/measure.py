"""What the benchmarks share: running a command, with its wall time, CPU time and peak memory; rows; tables.

Standard library only at import.

The measuring process must stay small: Linux counts the memory of the parent at the moment of the fork as the child's.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_CPU_KVCACHE_SPACE": "2",
    "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
}
"""For commands that load models: nothing is downloaded, and vLLM on a CPU takes all cores and 2 GiB for its cache."""


@dataclass(frozen=True)
class Cost:
    """What one run took: wall and CPU time in seconds, peak resident memory of its largest process in MiB."""

    wall: float
    cpu: float
    mib: float


def run(command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> Cost:
    """Run `command` once, output thrown away; `env` is added to this process's environment.

    Raises:
        SystemExit: the command failed; its last lines are shown.
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
    said = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(str(word) for word in command)}: failed\n{said[-2000:]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def median(costs: Sequence[Cost]) -> Cost:
    """The median of each figure by itself."""
    return Cost(*(statistics.median(column) for column in zip(*((c.wall, c.cpu, c.mib) for c in costs), strict=True)))


def in_turns(times: int, commands: Mapping[str, tuple[Sequence[str | Path], Mapping[str, str]]]) -> dict[str, Cost]:
    """Medians of `times` runs of each command, taken in turns, so that a busy minute falls on all of them alike."""
    taken: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(times):
        for name, (command, env) in commands.items():
            taken[name].append(run(command, env))
    return {name: median(costs) for name, costs in taken.items()}


def row_source(mirror: Path | None, scratch: Path) -> dict[str, str]:
    """The environment in which tasks read real rows: those of `mirror`, fetched into `scratch`.

    Without a mirror what FIN_DATA says, by default embedded rows.
    """
    if mirror is None:
        return {"FIN_DATA": os.environ.get("FIN_DATA", "sample")}
    found = {"FIN_DATA": "real", "FIN_DATA_DIR": str(scratch / "data")}
    run([BIN / "fin", "data", "fetch", "--mirror", mirror.resolve()], found)
    return found


def aside(file: str, job: Mapping[str, Any], env: Mapping[str, str]) -> dict[str, Any]:
    """What `file --worker JOB` tells (`tell`), in a process of its own: memory and caches are one job's only.

    Raises:
        SystemExit: it failed; what it said is shown.
    """
    command = [sys.executable, file, "--worker", json.dumps(job)]
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{job}: failed\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout.rpartition("RESULT")[2])
    return found


def tell(result: Mapping[str, Any]) -> None:
    """The result of a worker, to `aside`; libraries print, too."""
    print("RESULT" + json.dumps(result), flush=True)


def peak() -> float:
    """Peak resident memory of this process and those it started, together, MiB."""
    import psutil

    me = psutil.Process()
    return sum(peak_of(process.pid) for process in [me, *me.children(recursive=True)])


def peak_of(pid: int) -> float:
    """Peak resident memory of a process, MiB: the kernel's own mark.

    Unlike `ru_maxrss` it does not count what the parent had at the fork.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def row(*cells: object) -> None:
    """Print a row of a table."""
    print(f"| {' | '.join(map(str, cells))} |")
