"""What every real run of lm-eval must leave behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from fin_plugins.demo import engine_arguments
from tests.conftest import ROOT, result_file

METRICS = ("acc", "weighted_f1", "macro_f1", "mcc")
_ABORT = "terminate called without an active exception"
VLLM_ARGUMENTS = engine_arguments("vllm")


def lm_eval(*arguments: str, bin_folder: Path | None = None, status: int = 0, cwd: Path | str = "/", **env: str) -> str:
    """Type `lm_eval …` as a user would, from a folder that has nothing to do with us; what it printed."""
    command = [str((bin_folder or Path(sys.executable).parent) / "lm_eval"), *arguments]
    done = subprocess.run(
        command, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd
    )
    # lm-eval leaves vLLM's engine to the interpreter's end, where vLLM 0.32 at times aborts: all is written by then.
    aborted_at_exit = done.returncode == -signal.SIGABRT and _ABORT in done.stdout[-500:]
    assert done.returncode == status or (aborted_at_exit and status == 0), done.stdout[-6000:]
    return done.stdout


def check_run(output: Path, printed: str, tasks: list[str], origin: str) -> dict:
    """Result file, table, standard errors and data marker are as promised; scikit-learn agrees with every figure."""
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
