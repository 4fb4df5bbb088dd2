"""Every answer of our model classes against lm-eval's own, on real rows; an hour on two cores."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.prove
def test_our_classes_score_as_lm_evals_do(tmp_path: Path, mirror: Path) -> None:
    env = {**os.environ, "FIN_DATA": "real", "FIN_DATA_DIR": str(tmp_path / "data")}
    fin = str(Path(sys.executable).parent / "fin")
    subprocess.run([fin, "data", "fetch", "--mirror", str(mirror)], env=env, check=True, capture_output=True)
    # fin_hf in bfloat16 is left out: it misses 99.5 % (benchmarks/RESULTS.md), as lm-eval's hf does against itself.
    for chosen in (["--dtypes", "float32"], ["--dtypes", "bfloat16", "--only", "vllm"]):
        command = [sys.executable, str(ROOT / "scripts" / "parity.py"), "--keep", str(tmp_path / "answers"), *chosen]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr[-3000:]
