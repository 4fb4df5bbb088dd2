"""Fetching one file: whole and checked, or not there at all."""

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
from fin_plugins.data.fetch import fetch_file
from fin_plugins.data.sources import SourceFile, datasets, find
from tests.data.conftest import REPO, put
from tests.full_disk import no_file_larger_than

CONTENT = b"0123456789abcdef" * 50_000


@pytest.fixture
def raw(tmp_path):
    return tmp_path / "raw"


@pytest.fixture
def pin(copies):
    return put(copies, "some file.txt", CONTENT)


def left(raw):
    """What a reader could take for data; locks are not."""
    return [path for path in raw.rglob("*") if path.is_file() and not path.name.endswith(".lock")]


def test_from_a_mirror_and_not_again(pin, copies, raw):
    told = []
    assert fetch_file(pin, raw, copies, told.append)
    assert sum(told) == pin.bytes
    assert (raw / pin.path).read_bytes() == CONTENT
    assert not fetch_file(pin, raw, mirror=copies / "gone")


def test_from_a_server(pin, copies, raw, serve):
    handler = serve(copies)
    assert fetch_file(pin, raw)
    assert not fetch_file(pin, raw)
    assert handler.asked == 1 and left(raw) == [raw / pin.path]


def test_a_passing_failure_is_tried_again(pin, copies, raw, serve):
    handler, told = serve(copies, failures=2), []
    assert fetch_file(pin, raw, None, told.append)
    assert handler.asked == 3 and sum(told) == pin.bytes


def test_a_lasting_failure_is_not(pin, copies, raw, serve):
    handler = serve(copies, failures=9, status=404)
    with pytest.raises(FinError, match=r"some%20file\.txt: cannot be downloaded, HTTP status 404.*--mirror"):
        fetch_file(pin, raw)
    assert handler.asked == 1 and left(raw) == []


@pytest.mark.parametrize("by", ["mirror", "server"])
def test_checksum_mismatch_names_file_expected_and_got(pin, copies, raw, serve, by):
    (copies / pin.path).write_bytes(b"other")
    serve(copies)
    got = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(FinError, match=rf"some.*file\.txt: checksum mismatch, expected sha256 {pin.sha256}, got {got}"):
        fetch_file(pin, raw, copies if by == "mirror" else None)
    assert left(raw) == []


def test_a_spoilt_file_is_fetched_anew(pin, copies, raw):
    fetch_file(pin, raw, copies)
    (raw / pin.path).write_bytes(CONTENT[:-1])
    assert fetch_file(pin, raw, copies)
    assert (raw / pin.path).read_bytes() == CONTENT


def test_mirror_lacks_the_file(pin, copies, raw):
    (copies / pin.path).unlink()
    with pytest.raises(FinError, match=r"some file\.txt: the mirror lacks this file"):
        fetch_file(pin, raw, copies)
    assert left(raw) == []


def test_no_network(pin, raw, monkeypatch):
    monkeypatch.setenv("FIN_DATA_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(FinError, match=r"no network.*--mirror") as caught:
        fetch_file(pin, raw)
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_written(pin, copies, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FinError, match=r"file/below.*cannot write data there.*FIN_DATA_DIR"):
        fetch_file(pin, tmp_path / "file" / "below", copies)


def test_full_disk_names_the_folder_and_leaves_nothing(pin, copies, raw):
    target = raw / pin.path
    with (
        no_file_larger_than(len(CONTENT) - 1),
        pytest.raises(FinError, match=f"{target.parent}: cannot write data there .File too large"),
    ):
        fetch_file(pin, raw, copies)
    assert left(raw) == []
    assert fetch_file(pin, raw, copies)


FETCH = """
import sys
from pathlib import Path
from fin_plugins.data.fetch import fetch_file
from fin_plugins.data.sources import SourceFile
path, sha, size, raw, mirror = sys.argv[1:]
fetch_file(SourceFile(path, sha, int(size)), Path(raw), Path(mirror) if mirror else None)
"""


def start(pin, raw, mirror=""):
    words = [sys.executable, "-c", FETCH, pin.path, pin.sha256, str(pin.bytes), str(raw), str(mirror)]
    return subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(REPO / "src")})


def test_two_processes_at_once(pin, copies, raw):
    both = [start(pin, raw, copies) for _ in range(2)]
    assert [one.wait(30) for one in both] == [0, 0]
    assert left(raw) == [raw / pin.path]


class Stalling(http.server.BaseHTTPRequestHandler):
    """Sends half of the file and then nothing."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2])
        self.wfile.flush()
        self.server.done.wait(20)

    def log_message(self, *args):
        pass


def test_killed_half_way_leaves_nothing_that_reads_as_whole(pin, copies, raw, monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stalling)
    server.daemon_threads, server.done = True, threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("FIN_DATA_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    child, until = start(pin, raw), time.monotonic() + 20
    while not any(part.stat().st_size for part in left(raw)) and time.monotonic() < until:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait(10)
    assert len(left(raw)) == 1 and not (raw / pin.path).exists()
    server.done.set()
    server.shutdown()
    server.server_close()
    assert fetch_file(pin, raw, copies) and left(raw) == [raw / pin.path]
    assert left(raw) == [raw / pin.path]


def test_every_pin_is_well_formed_and_public():
    for dataset in datasets().values():
        assert dataset.sources and dataset.licence and dataset.upstream.startswith("https://github.com/")
        for source in dataset.sources:
            assert len(source.commit) == 40 and len(source.sha256) == 64 and source.bytes > 0
            assert source.url.startswith("https://raw.githubusercontent.com/" + source.path.split("/")[0])


def test_names_with_and_without_prefix_and_a_typo():
    assert find("fin_finred").key == find("finred").key == "finred"
    with pytest.raises(FinError, match=r"fin_fomcc: no such data set \(did you mean fin_fomc\?\)"):
        find("fin_fomcc")


def test_base_url_can_be_set(monkeypatch):
    monkeypatch.setenv("FIN_DATA_BASE_URL", "http://localhost:1/x/")
    assert SourceFile("a/b/c/d e.txt", "", 0).url == "http://localhost:1/x/a/b/c/d%20e.txt"
