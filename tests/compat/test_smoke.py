"""A short way through scoring, training and merging, with versions that other tests do not run with: `make compat`."""

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
    """Two adapters, trained by TRL on some sample rows, in padded batches and with shared prefixes."""
    root = tmp_path_factory.mktemp("adapters")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIN_DATA", "sample")
        for name, batching in (("padded", "padded"), ("shared", "auto")):
            settings = {**SMALL, "model": str(model), "output": str(root / name), "batching": batching}
            train(TrainConfig.model_validate({**settings, "epochs": 1}), name)
    return {name: root / name for name in ("padded", "shared")}


def typed(*words: object, folder: Path) -> str:
    """What a command of this environment prints."""
    program = str(Path(sys.executable).parent / str(words[0]))
    env = {**os.environ, "FIN_DATA": "sample", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [program, *map(str, words[1:])], env=env, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def results(folder: Path) -> dict[str, Any]:
    """The newest result file's numbers, by task, without what a run measures of itself."""
    file = max(folder.rglob("results_*.json"), key=lambda one: one.stat().st_mtime_ns)
    return dict(json.loads(file.read_text(encoding="utf-8"))["results"])


def test_the_doctor_finds_nothing_broken(tmp_path: Path) -> None:
    checks = json.loads(typed("fin", "doctor", "--json", folder=tmp_path))["checks"]
    assert [check for check in checks if check["status"] == "bad"] == []
    assert {check["name"]: check["status"] for check in checks}["tasks"] == "ok"


def test_fin_eval_with_lm_evals_dummy_model(tmp_path: Path) -> None:
    words = ("--model", "dummy", "--tasks", "fin_fomc,fin_fomc_gen", "--limit", 3)
    printed = typed("fin", "eval", *words, folder=tmp_path)
    assert "fin_fomc_gen" in printed and "sample" in printed


def test_plain_lm_eval_finds_the_tasks_by_the_start_up_file(tmp_path: Path) -> None:
    printed = typed("lm_eval", "--model", "dummy", "--tasks", "fin_fomc", "--limit", 3, folder=tmp_path)
    assert "fin_fomc" in printed


def test_fin_hf_scores_as_lm_evals_own_class_does(model: Path, tmp_path: Path) -> None:
    found = {}
    for engine in ("hf", "fin_hf"):
        words = ("--model", engine, "--model_args", f"pretrained={model},dtype=float32", "--device", "cpu")
        more = ("--tasks", "fin_fomc,fin_fomc_gen", "--limit", 6, "--output_path", tmp_path / engine)
        typed("fin", "eval", *words, *more, folder=tmp_path)
        found[engine] = results(tmp_path / engine)
    for task in ("fin_fomc", "fin_fomc_gen"):
        numbers = {engine: _numbers(found[engine][task]) for engine in found}
        assert numbers["hf"] == pytest.approx(numbers["fin_hf"]) and numbers["hf"]


def test_training_lowers_the_loss_and_adapters_are_scored(
    model: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    for folder in adapters.values():
        curve = [one["loss"] for one in json.loads((folder / "train.json").read_text(encoding="utf-8"))["loss_curve"]]
        assert curve[-1] < curve[0]
    given = [word for name, folder in adapters.items() for word in ("--adapter", f"{name}={folder}")]
    words = ("--model", "fin_hf", "--model_args", f"pretrained={model},dtype=float32", "--device", "cpu", *given)
    more = ("--tasks", "fin_fomc", "--limit", 6, "--verify-adapters", "--apply_chat_template")
    typed("fin", "eval", *words, *more, "--output_path", tmp_path / "out", folder=tmp_path)
    assert len(list((tmp_path / "out").rglob("results_*.json"))) == 3


@pytest.mark.parametrize("recipe", ["task_arithmetic", "ties"])
def test_merging(recipe: str, model: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    given = [word for name, folder in adapters.items() for word in ("--expert", f"{name}={folder}")]
    for kind in ((), ("--as-adapter",)):
        out = tmp_path / f"merged{len(kind)}"
        words = (recipe, "--base", model, *given, "--dtype", "float32", "--max-residual", 1, "--out", out)
        typed(
            "fin",
            "merge",
            *([word for word in words if kind or word not in ("--max-residual", 1)]),
            *kind,
            folder=tmp_path,
        )
        assert (out / "merge.json").is_file()


def test_snakemake_takes_our_command_line(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text("rule all:\n    shell: 'true'\n")
    words = ("--snakefile", tmp_path / "Snakefile", "--directory", tmp_path, "--workflow-profile", "none")
    more = ("--profile", "none", "--nolock", "--rerun-incomplete", "--drop-metadata", "--keep-going", "--nocolor")
    typed("snakemake", *words, *more, "--scheduler", "greedy", "--cores", 1, folder=tmp_path)


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in row.items() if isinstance(value, float) and "stderr" not in name}
