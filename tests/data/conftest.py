"""A small synthetic data set with its raw file, a server for it, and the real data sets built once."""

import hashlib
import http.server
import json
import threading
from functools import partial
from pathlib import Path

import pytest

from fin_plugins.data import builders, download, sources

REPO = Path(__file__).resolve().parents[2]
COMMIT = "0" * 40


@pytest.fixture(scope="session")
def built_splits(mirror):
    """The splits of every data set before and after decontamination, built once from the real raw files."""
    return {key: builders.build_splits(dataset, mirror) for key, dataset in sources.datasets().items()}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty data folder; the environment of whoever runs the tests does not count."""
    for name in ("FIN_DATA", "FIN_DATA_BASE_URL", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FIN_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(download, "RETRY_DELAYS", (0.01, 0.01))
    return tmp_path / "data"


def put(root, name, content):
    """Write a raw file below `root` and return its pin."""
    path = f"owner/repo/{COMMIT}/{name}"
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)
    return sources.SourceFile(path, hashlib.sha256(content).hexdigest(), len(content))


def dataset(key, labels, pins):
    return sources.Dataset(key, key, False, labels, tuple(pins), "none", "https://example.org", "nobody", "test", ())


@pytest.fixture
def copies(tmp_path):
    """An empty folder of raw files."""
    (tmp_path / "copies").mkdir()
    return tmp_path / "copies"


@pytest.fixture
def small_deal(copies, monkeypatch):
    """A synthetic stand-in for the deal data set, its only raw file in `copies`."""
    rows = [{"Text": f"deal number {n}", "Answer": "complete" if n % 2 else "rumour"} for n in range(10)]
    pin = put(copies, "MA.json", json.dumps(rows).encode())
    small = dataset("deal", ("complete", "rumour"), [pin])
    monkeypatch.setattr(sources, "datasets", lambda: {"deal": small})
    return small


class FlakyHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files, after answering the first `failures` requests with `status`."""

    failures, status, requests = 0, 503, 0

    def do_GET(self):
        type(self).requests += 1
        if type(self).failures > 0:
            type(self).failures -= 1
            self.send_error(type(self).status)
            return
        super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def serve(monkeypatch):
    """Serve a folder on a loopback port and point FIN_DATA_BASE_URL at it; returns the handler class."""
    servers = []

    def start(root, failures=0, status=503):
        handler = type("Handler", (FlakyHandler,), {"failures": failures, "status": status, "requests": 0})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(root)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("FIN_DATA_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        servers.append(server)
        return handler

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
