"""What tests that kill runs look at."""

import time
from collections.abc import Callable
from pathlib import Path

import psutil


def at_work(work: Path) -> list[int]:
    """Processes that work in a folder."""
    found = []
    for process in psutil.process_iter(["cwd", "status", "pid"]):
        if process.info["cwd"] == str(work) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.info["pid"])
    return found


def wait_until(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)
