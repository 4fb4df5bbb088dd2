"""Fetching one raw file: complete and verified, or not there at all."""

import hashlib
import http.server
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.data.download import fetch_file
from tests.data.conftest import REPO, put
from tests.full_disk import no_file_larger_than

CONTENT = b"0123456789abcdef" * 50_000


@pytest.fixture
def raw(tmp_path):
    return tmp_path / "raw"


@pytest.fixture
def pin(copies):
    return put(copies, "some file.txt", CONTENT)


def data_files(raw):
    """All files that could be taken for data, so not the locks."""
    return [path for path in raw.rglob("*") if path.is_file() and not path.name.endswith(".lock")]


def test_from_a_mirror_only_once(pin, copies, raw):
    received = []
    assert fetch_file(pin, raw, copies, received.append)
    assert sum(received) == pin.bytes
    assert (raw / pin.path).read_bytes() == CONTENT
    assert not fetch_file(pin, raw, mirror=copies / "gone")


def test_from_a_server(pin, copies, raw, serve):
    handler = serve(copies)
    assert fetch_file(pin, raw)
    assert not fetch_file(pin, raw)
    assert handler.requests == 1 and data_files(raw) == [raw / pin.path]


def test_a_temporary_failure_is_retried(pin, copies, raw, serve):
    handler, received = serve(copies, failures=2), []
    assert fetch_file(pin, raw, None, received.append)
    assert handler.requests == 3 and sum(received) == pin.bytes


def test_a_permanent_failure_is_not_retried(pin, copies, raw, serve):
    handler = serve(copies, failures=9, status=404)
    with pytest.raises(FinError, match=r"some%20file\.txt.*404.*--mirror"):
        fetch_file(pin, raw)
    assert handler.requests == 1 and data_files(raw) == []


@pytest.mark.parametrize("by", ["mirror", "server"])
def test_checksum_mismatch_names_file_expected_and_got(pin, copies, raw, serve, by):
    (copies / pin.path).write_bytes(b"other")
    serve(copies)
    got = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(FinError, match=rf"some.*file\.txt.*{pin.sha256}.*{got}"):
        fetch_file(pin, raw, copies if by == "mirror" else None)
    assert data_files(raw) == []


def test_a_damaged_file_is_fetched_again(pin, copies, raw):
    fetch_file(pin, raw, copies)
    (raw / pin.path).write_bytes(CONTENT[:-1])
    assert fetch_file(pin, raw, copies)
    assert (raw / pin.path).read_bytes() == CONTENT


def test_a_file_missing_in_the_mirror(pin, copies, raw):
    (copies / pin.path).unlink()
    with pytest.raises(FinError, match=r"some file\.txt.*mirror"):
        fetch_file(pin, raw, copies)
    assert data_files(raw) == []


def test_no_network(pin, raw, monkeypatch):
    monkeypatch.setenv("FIN_DATA_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(FinError, match=r"127\.0\.0\.1:9.*--mirror") as caught:
        fetch_file(pin, raw)
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_written(pin, copies, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FinError, match=r"file/below.*FIN_DATA_DIR"):
        fetch_file(pin, tmp_path / "file" / "below", copies)


def test_full_disk_names_the_folder_and_leaves_nothing(pin, copies, raw):
    target = raw / pin.path
    with (
        no_file_larger_than(len(CONTENT) - 1),
        pytest.raises(FinError, match=f"{target.parent}: .*File too large"),
    ):
        fetch_file(pin, raw, copies)
    assert data_files(raw) == []
    assert fetch_file(pin, raw, copies)


FETCH = """
import sys
from pathlib import Path
from fin_plugins.data.download import fetch_file
from fin_plugins.data.sources import SourceFile
path, sha, size, raw, mirror = sys.argv[1:]
fetch_file(SourceFile(path, sha, int(size)), Path(raw), Path(mirror) if mirror else None)
"""


def start(pin, raw, mirror=""):
    words = [sys.executable, "-c", FETCH, pin.path, pin.sha256, str(pin.bytes), str(raw), str(mirror)]
    return subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(REPO / "src")})


def test_two_processes_at_once(pin, copies, raw):
    both = [start(pin, raw, copies) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert data_files(raw) == [raw / pin.path]


class Stalling(http.server.BaseHTTPRequestHandler):
    """Sends half of the file and then stalls."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2])
        self.wfile.flush()
        self.server.done.wait(20)

    def log_message(self, *args):
        pass


def test_a_killed_fetch_leaves_no_file_that_counts_as_complete(pin, copies, raw, monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stalling)
    server.daemon_threads, server.done = True, threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("FIN_DATA_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    child, until = start(pin, raw), time.monotonic() + 20
    while not any(part.stat().st_size for part in data_files(raw)) and time.monotonic() < until:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait(10)
    assert len(data_files(raw)) == 1 and not (raw / pin.path).exists()
    server.done.set()
    server.shutdown()
    server.server_close()
    assert fetch_file(pin, raw, copies) and data_files(raw) == [raw / pin.path]
