"""Tests of the progress display: what a log shows, what a terminal shows, and that short work shows nothing."""

import os
import pty
import subprocess
import sys
import time

import pytest

from fin_plugins.common.progress import BYTES, heartbeat, progress


def test_a_log_gets_lines_with_count_total_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("documents", 10, label="fin_fpb", interval=0.0) as counter:
        for _ in range(10):
            counter.advance()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 9  # none for the last document: whoever did the work reports the end
    assert "fin_fpb" in lines[0]
    assert "1 of 10 documents" in lines[0]
    assert lines[0].endswith("left")


def test_fractions_of_a_unit_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("documents", 2, interval=0.0) as counter:
        for _ in range(3):
            counter.advance(0.5)
    assert [line.split(": ")[1].split(",")[0] for line in capsys.readouterr().err.splitlines()] == [
        "0 of 2 documents",
        "1 of 2 documents",
        "1 of 2 documents",
    ]


def test_downloads_are_counted_in_megabytes(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(BYTES, 30e6, interval=0.0) as counter:
        counter.advance(15e6)
    assert "15 MB of 30 MB" in capsys.readouterr().err


def test_an_unknown_total_shows_the_count_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("tensors", interval=0.0) as counter:
        counter.advance()
        counter.update(2, 4)
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("1 tensors")
    assert "2 of 4 tensors" in second


def test_work_shorter_than_the_interval_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("tensors", 2, interval=60.0) as counter, heartbeat("reading", interval=60.0):
        counter.advance()
    assert capsys.readouterr().err == ""


def test_a_heartbeat_prints_until_the_work_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with heartbeat("reading result files", interval=0.01):
        deadline = time.monotonic() + 10
        text = ""
        while "reading result files" not in text and time.monotonic() < deadline:
            time.sleep(0.02)
            text += capsys.readouterr().err
    assert "reading result files" in text
    capsys.readouterr()
    time.sleep(0.05)  # several intervals
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_that_is_removed_at_the_end() -> None:
    code = (
        "import time\nfrom fin_plugins.common.progress import progress\n"
        "with progress('tensors', 4, label='merge') as counter:\n"
        "    for done in range(1, 5):\n        counter.update(done, detail=f'job {done}'); time.sleep(0.15)\n"
    )
    controller, terminal = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], stderr=terminal, env={**os.environ, "TERM": "xterm"})
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(controller, 4096)
        except OSError:  # the terminal is closed
            break
        if not part:
            break
        shown += part
    assert process.wait() == 0
    assert b"tensors" in shown
    assert b"4/4" in shown
    assert b"job 4" in shown
    assert b"\x1b[2K" in shown  # the line of the bar is erased
