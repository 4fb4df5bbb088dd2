"""Short runs of scoring, training and merging with library versions that other tests do not use (`make compat`)."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fin_plugins.training.train_config import TrainConfig
from fin_plugins.training.train_run import train
from tests.training.tiny_runs import SMALL

pytestmark = pytest.mark.compat


@pytest.fixture(scope="module")
def model(tiny_models: dict[str, Path]) -> Path:
    return tiny_models["llama3"]


@pytest.fixture(scope="module")
def adapters(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two adapters trained on a few sample rows, one with padded batches and one with shared prefixes."""
    root = tmp_path_factory.mktemp("adapters")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIN_DATA", "sample")
        for name, batching in (("padded", "padded"), ("shared", "auto")):
            settings = {**SMALL, "model": str(model), "output": str(root / name), "batching": batching}
            train(TrainConfig.model_validate({**settings, "epochs": 1}), name)
    return {name: root / name for name in ("padded", "shared")}


def run_command(*words: object, folder: Path) -> str:
    """Run a command of this environment and return its output."""
    program = str(Path(sys.executable).parent / str(words[0]))
    env = {**os.environ, "FIN_DATA": "sample", "HF_HUB_OFFLINE": "1"}
    process = subprocess.run(
        [program, *map(str, words[1:])], env=env, cwd=folder, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, f"{process.stdout}\n{process.stderr}"
    return process.stdout


def results(folder: Path) -> dict[str, Any]:
    """Results of each task in the newest result file."""
    file = max(folder.rglob("results_*.json"), key=lambda file: file.stat().st_mtime_ns)
    return dict(json.loads(file.read_text(encoding="utf-8"))["results"])


def test_the_doctor_finds_no_fault(tmp_path: Path) -> None:
    checks = json.loads(run_command("fin", "doctor", "--json", folder=tmp_path))["checks"]
    assert [check for check in checks if check["status"] == "bad"] == []
    assert {check["name"]: check["status"] for check in checks}["tasks"] == "ok"


def test_fin_eval_with_lm_evals_dummy_model(tmp_path: Path) -> None:
    words = ("--model", "dummy", "--tasks", "fin_fomc,fin_fomc_gen", "--limit", 3)
    printed = run_command("fin", "eval", *words, folder=tmp_path)
    assert "fin_fomc_gen" in printed and "sample" in printed


def test_plain_lm_eval_finds_the_tasks_by_the_start_up_file(tmp_path: Path) -> None:
    printed = run_command("lm_eval", "--model", "dummy", "--tasks", "fin_fomc", "--limit", 3, folder=tmp_path)
    assert "fin_fomc" in printed


def test_fin_hf_scores_as_lm_evals_own_class_does(model: Path, tmp_path: Path) -> None:
    scores = {}
    for engine in ("hf", "fin_hf"):
        words = ("--model", engine, "--model_args", f"pretrained={model},dtype=float32", "--device", "cpu")
        more = ("--tasks", "fin_fomc,fin_fomc_gen", "--limit", 6, "--output_path", tmp_path / engine)
        run_command("fin", "eval", *words, *more, folder=tmp_path)
        scores[engine] = results(tmp_path / engine)
    for task in ("fin_fomc", "fin_fomc_gen"):
        reference, ours = (_metrics(scores[engine][task]) for engine in ("hf", "fin_hf"))
        assert reference == pytest.approx(ours) and reference


def test_training_lowers_the_loss_and_adapters_are_scored(
    model: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    for folder in adapters.values():
        record = json.loads((folder / "train.json").read_text(encoding="utf-8"))
        losses = [point["loss"] for point in record["loss_curve"]]
        assert losses[-1] < losses[0]
    options = [word for name, folder in adapters.items() for word in ("--adapter", f"{name}={folder}")]
    words = ("--model", "fin_hf", "--model_args", f"pretrained={model},dtype=float32", "--device", "cpu", *options)
    more = ("--tasks", "fin_fomc", "--limit", 6, "--verify-adapters", "--apply_chat_template")
    run_command("fin", "eval", *words, *more, "--output_path", tmp_path / "out", folder=tmp_path)
    assert len(list((tmp_path / "out").rglob("results_*.json"))) == 3


@pytest.mark.parametrize("recipe", ["task_arithmetic", "ties"])
def test_merging(recipe: str, model: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    experts = [word for name, folder in adapters.items() for word in ("--expert", f"{name}={folder}")]
    words = ("fin", "merge", recipe, "--base", model, *experts, "--dtype", "float32")
    for name, options in {"checkpoint": (), "adapter": ("--as-adapter", "--max-residual", 1)}.items():
        run_command(*words, *options, "--out", tmp_path / name, folder=tmp_path)
        assert (tmp_path / name / "merge.json").is_file()


def test_snakemake_accepts_our_command_line(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text("rule all:\n    shell: 'true'\n")
    words = ("--snakefile", tmp_path / "Snakefile", "--directory", tmp_path, "--workflow-profile", "none")
    more = ("--profile", "none", "--nolock", "--rerun-incomplete", "--drop-metadata", "--keep-going", "--nocolor")
    run_command("snakemake", *words, *more, "--scheduler", "greedy", "--cores", 1, folder=tmp_path)


def _metrics(scores: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in scores.items() if isinstance(value, float) and "stderr" not in name}
