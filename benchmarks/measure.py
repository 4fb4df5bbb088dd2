"""Run a command and take its wall time, CPU time and peak memory. Standard library only.

The measuring process must stay small: Linux counts the memory of the parent at the moment of the fork as the child's.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent


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
