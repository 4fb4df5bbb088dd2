"""Builds on disk: interrupted ones count as none; content hashes."""

import os
import subprocess
import sys

import pandas as pd

from fin_plugins.data import dataset_store
from tests.data.conftest import REPO

KILLED = """
import os, sys
import pandas as pd
from pathlib import Path
from fin_plugins.data import dataset_store as store
real, done = pd.DataFrame.to_parquet, []
def to_parquet(frame, path, **more):
    if done:
        os.kill(os.getpid(), 9)
    done.append(real(frame, path, **more))
pd.DataFrame.to_parquet = to_parquet
frame = pd.DataFrame({"id": ["a"], "text": ["b"], "label": ["c"]})
store.write_build(Path(sys.argv[1]), store.Manifest(1, 1, {}, {}, {}, {}), {"train": frame, "test": frame})
"""


def test_an_interrupted_build_counts_as_none(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    environment = {**os.environ, "PYTHONPATH": str(REPO / "src")}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=environment, check=False)
    assert done.returncode == -9
    assert (tmp_path / "train.parquet").exists() and not (tmp_path / "manifest.json").exists()
    assert dataset_store.read_manifest(tmp_path) is None


def test_content_hash_depends_on_rows_not_on_the_file():
    frame = pd.DataFrame({"id": ["a"], "text": ["é"], "label": ["c"]})
    assert dataset_store.content_hash(frame) == dataset_store.content_hash(frame[["label", "text", "id"]])
    assert dataset_store.content_hash(frame) != dataset_store.content_hash(frame.assign(text="e"))
    assert dataset_store.content_hash(frame) == "fa346cae97ffe741a9dd12bdfe33aa239655c824b7a5c6c0ad469d4856a47cee"
