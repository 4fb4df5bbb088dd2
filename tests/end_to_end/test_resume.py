"""`fin eval` killed without a chance to clean up, then started again with the same command."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.evaluation.factories import adapter

pytestmark = pytest.mark.prove


def _start_fin_eval(*words: str) -> "subprocess.Popen[str]":
    command = [str(Path(sys.executable).parent / "fin"), "eval", *words]
    # Without the start-up file, which `fin eval` does not need.
    environment = {**os.environ, "FIN_DATA": "sample", "FIN_PLUGINS_AUTOLOAD": "0", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/"
    )


def test_a_killed_run_resumes_with_the_missing_units(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    base, out = tiny_models["llama3"], tmp_path / "out"
    first, second = adapter(tmp_path / "one", base, 0.5), adapter(tmp_path / "two", base, 0.6)
    words = ["--model", "fin_hf", "--model_args", f"pretrained={base},dtype=float32", "--device", "cpu"]
    words += ["--adapter", f"one={first}", "--adapter", f"two={second}", "--tasks", "fin", "--apply_chat_template"]
    words += ["--output_path", str(out)]

    killed = _start_fin_eval(*words)
    while len(list(out.glob(".fin-eval/units/*.json"))) < 11:  # in the middle of the second model
        assert killed.poll() is None
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    cached = len(list(out.glob(".fin-eval/units/*.json")))
    assert 11 <= cached < 24
    for file in out.rglob("*.json"):
        json.loads(file.read_text())

    resumed = _start_fin_eval(*words)
    printed, _ = resumed.communicate()
    assert resumed.returncode == 0, printed[-5000:]
    units = re.findall(r"^fin eval: \[(\d+)/24\] (\w+) · (\w+): (.+)$", printed, re.MULTILINE)
    assert [int(number) for number, *_ in units] == list(range(1, 25))
    assert [source == "from the cache" for *_, source in units] == [True] * cached + [False] * (24 - cached)
    assert printed.count("engine started (1)") == 1 and "engine started (2)" not in printed
    assert len(list(out.rglob("results_*.json"))) == 3 and len(list(out.rglob("samples_*.jsonl"))) == 24
    for file in out.rglob("results_*.json"):
        assert json.loads(file.read_text())["groups"]["fin"]["acc,none"] >= 0

    files = {file: file.stat().st_mtime_ns for file in out.rglob("*") if file.is_file()}
    repeated = _start_fin_eval(*words)
    printed, _ = repeated.communicate()
    assert printed.count("from the cache") == 24 and "engine started" not in printed
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*") if file.is_file()} == files
