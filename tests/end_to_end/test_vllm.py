"""Plain `lm_eval` with vLLM and the demo model on the embedded rows, by likelihood and by generation."""

from pathlib import Path

from tests.conftest import samples
from tests.end_to_end.checks import VLLM_ARGUMENTS, check_run, lm_eval

UNSEEN_GEN = ["fin_argument_gen", "fin_deal_gen", "fin_causal_gen"]


def test_likelihood_and_generation_on_one_engine(tmp_path: Path, demo_model_path: Path) -> None:
    printed = lm_eval(
        *("--tasks", "fin_fpb,fin_unseen_gen", "--model", "vllm", "--limit", "2", "--batch_size", "auto"),
        *("--model_args", f"pretrained={demo_model_path},{VLLM_ARGUMENTS}", "--apply_chat_template"),
        *("--output_path", str(tmp_path), "--log_samples"),
        FIN_DATA="sample",
    )
    results = check_run(tmp_path, printed, ["fin_fpb", *UNSEEN_GEN], "sample")
    assert set(results["groups"]) == {"fin_unseen_gen"}
    for row in samples(tmp_path, "fin_fpb"):
        likelihoods = [float(likelihood) for likelihood, _ in row["filtered_resps"]]
        assert len(likelihoods) == 3
        assert all(likelihood < 0 for likelihood in likelihoods)
