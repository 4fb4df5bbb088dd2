"""Helpers of tests that stop and kill runs."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.conftest import ROOT


def processes_in(work: Path) -> list[int]:
    """Ids of the processes whose working directory is this folder."""
    return [
        process.info["pid"]
        for process in psutil.process_iter(["cwd", "status", "pid"])
        if process.info["cwd"] == str(work) and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def is_alive(process: int) -> bool:
    return psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "condition not met in time"
        time.sleep(0.05)


def start_run(work: Path, seconds: float, *profile: str) -> subprocess.Popen[bytes]:
    """Run a `diamond` in its own process, `run_driver`."""
    command = [sys.executable, "-m", "tests.experiments.run_driver", str(work), str(seconds), *profile]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
