"""Unfinished files of killed runs go, those of running ones stay."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from fin_plugins.board import atomic
from fin_plugins.board.rendering import render
from tests.board import boards

# Writes into the folder that is given and stops in the middle, where it can be killed.
HALF = """
import sys, time
from pathlib import Path
from fin_plugins.board import atomic
def stop(descriptor):
    print("half", flush=True)
    time.sleep(600)
atomic.os.fsync = stop
atomic.write(Path(sys.argv[1]) / "board.md", b"half")
"""


def half_written(folder: Path) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen([sys.executable, "-c", HALF, str(folder)], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"half\n"
    return process


def leftovers(folder: Path) -> list[Path]:
    return sorted(folder.glob(".*"))


def test_a_killed_runs_leftovers_go_and_a_running_ones_stay(tmp_path: Path) -> None:
    killed, running = half_written(tmp_path), half_written(tmp_path)
    try:
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        assert len(leftovers(tmp_path)) == 2
        render(boards.empty(), tmp_path)
        assert len(leftovers(tmp_path)) == 1
        assert (tmp_path / "board.md").read_bytes() != b"half"
    finally:
        running.kill()
        running.wait()
    render(boards.empty(), tmp_path)
    assert leftovers(tmp_path) == []


def test_what_others_put_there_stays(tmp_path: Path) -> None:
    for name in (".git", "board.part", ".film.part", ".keep"):
        (tmp_path / name).write_text("")
    atomic.remove_leftovers(tmp_path)
    atomic.write(tmp_path / "deep" / "a", b"1")
    assert {file.name for file in tmp_path.iterdir()} == {".git", "board.part", ".film.part", ".keep", "deep"}
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["a"]
