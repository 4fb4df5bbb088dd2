"""Run `lm_eval` and check the output that every run must leave."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from fin_plugins.demo import engine_arguments
from tests.conftest import ROOT, result_file

METRICS = ("acc", "weighted_f1", "macro_f1", "mcc")
_ABORT_MESSAGE = "terminate called without an active exception"
VLLM_ARGUMENTS = engine_arguments("vllm")


def lm_eval(*arguments: str, bin_folder: Path | None = None, status: int = 0, cwd: Path | str = "/", **env: str) -> str:
    """Run `lm_eval …` as a user would, by default from an unrelated folder; returns its output."""
    command = [str((bin_folder or Path(sys.executable).parent) / "lm_eval"), *arguments]
    process = subprocess.run(
        command, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd
    )
    # lm-eval does not shut down vLLM, and vLLM 0.32 sometimes aborts at interpreter exit, after all is written.
    aborted_at_exit = process.returncode == -signal.SIGABRT and _ABORT_MESSAGE in process.stdout[-500:]
    assert process.returncode == status or (aborted_at_exit and status == 0), process.stdout[-6000:]
    return process.stdout


def check_run(output: Path, printed: str, tasks: list[str], origin: str) -> dict:
    """Check metrics, standard errors, data marker, and every figure against scikit-learn; returns the results."""
    results = result_file(output)
    assert "N/A" not in printed
    for task in tasks:
        scores = results["results"][task]
        for metric in METRICS:
            assert isinstance(scores[f"{metric},none"], float)
            assert isinstance(scores[f"{metric}_stderr,none"], float)
        assert results["configs"][task]["metadata"]["fin"]["data"] == origin
        assert set(results["configs"][task]["metadata"]["fin"]["content_hash"]) >= {"test"}
        assert ("sample_rows,none" in scores) == (origin == "sample")
    assert ("sample_rows" in printed) == (origin == "sample")
    recomputed = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "recompute.py"), str(output)], capture_output=True, text=True
    )
    assert recomputed.returncode == 0, recomputed.stdout + recomputed.stderr
    return results
