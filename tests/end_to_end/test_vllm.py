"""Real lm-eval, real vLLM, real model, real rows (embedded rows where this machine has no mirror of the real ones)."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import samples
from tests.end_to_end.checks import VLLM_ARGUMENTS, check_run, lm_eval

SEEN = ["fin_fpb", "fin_fiqa", "fin_headline", "fin_finred", "fin_fomc"]
UNSEEN_GEN = ["fin_argument_gen", "fin_deal_gen", "fin_causal_gen"]


def test_seen_by_likelihood_and_unseen_by_generation(
    tmp_path: Path, demo_model_path: Path, request: pytest.FixtureRequest
) -> None:
    try:
        mirror = request.getfixturevalue("mirror")
        settings, origin = {"FIN_DATA": "real", "FIN_DATA_DIR": str(tmp_path / "data")}, "real"
        fin = str(Path(sys.executable).parent / "fin")
        fetch = [fin, "data", "fetch", "--mirror", str(mirror)]
        subprocess.run(fetch, env={"PATH": "/usr/bin:/bin", **settings}, check=True, capture_output=True)
    except pytest.skip.Exception:
        settings, origin = {"FIN_DATA": "sample"}, "sample"
    printed = lm_eval(
        *("--tasks", "fin_seen,fin_unseen_gen", "--model", "vllm", "--limit", "2", "--batch_size", "auto"),
        *("--model_args", f"pretrained={demo_model_path},{VLLM_ARGUMENTS}", "--apply_chat_template"),
        *("--output_path", str(tmp_path / "out"), "--log_samples"),
        **settings,
    )
    results = check_run(tmp_path / "out", printed, [*SEEN, *UNSEEN_GEN], origin)
    assert set(results["groups"]) == {"fin_seen", "fin_unseen_gen"}
    for row in samples(tmp_path / "out", "fin_finred"):
        likelihoods = [float(likelihood) for likelihood, _ in row["filtered_resps"]]
        assert len(likelihoods) == 29
        assert all(likelihood < 0 for likelihood in likelihoods)
