"""Progress of `fin eval`, in a log and on a terminal."""

import fcntl
import os
import pty
import struct
import sys
import termios

import pytest

from fin_plugins.evaluation import display
from fin_plugins.evaluation.display import document_progress


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(display, "LINE_INTERVAL", 0.0)
    with document_progress("[1/2] base · fin_x", documents=10, requests=30) as advance:
        advance(15)
        advance(15)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "[1/2] base · fin_x: 5 of 10 documents" in lines[0] and "left" in lines[0]


def test_a_log_is_not_flooded(capsys: pytest.CaptureFixture[str]) -> None:
    with document_progress("[1/2] base · fin_x", documents=10, requests=10) as advance:
        for _ in range(10):
            advance(1)
    assert not capsys.readouterr().err


def test_a_terminal_gets_a_bar_with_the_first_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = pty.openpty()
    os.set_blocking(reader, False)
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    with os.fdopen(writer, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        with document_progress("none", documents=4, requests=4):
            pass
        with document_progress("[1/2] base · fin_x", documents=4, requests=8) as advance:
            advance(8)
        terminal.flush()
        shown = os.read(reader, 10_000).decode()
    os.close(reader)
    assert "none" not in shown
    assert "[1/2] base · fin_x" in shown and "/4 documents" in shown
