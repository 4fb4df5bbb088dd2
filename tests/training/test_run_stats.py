"""A killed or stopped run resumes to the result of an uninterrupted one."""

import json
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fin_plugins.training.run_stats import RunStats, RunStatsCallback, last_checkpoint, remove_incomplete_checkpoints
from tests.training.tiny_runs import losses, run, start_process

pytestmark = pytest.mark.usefixtures("sample_data", "one_thread")

# Dropout, so that random numbers must go on too; a checkpoint every other step.
LONG = {"epochs": 6, "lora": {"r": 4, "alpha": 8, "dropout": 0.1}, "validation": {"rows": 6, "early_stop": 50}}


@pytest.fixture(scope="module")
def model(tiny_models):
    return tiny_models["llama3"]


@pytest.fixture(scope="module")
def uninterrupted(model, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIN_DATA", "sample")
        return run(model, tmp_path_factory.mktemp("uninterrupted") / "out", **LONG)


def wait_for(process, condition) -> None:
    end = time.monotonic() + 600
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "the run made no progress"
        time.sleep(0.002)


def marks(folder: Path) -> list[Path]:
    return list(folder.glob("checkpoints/checkpoint-*/fin.json"))


def check_equal(folder: Path, expected: Path) -> None:
    """Losses, validations and weights are equal within float noise."""
    assert losses(folder) == pytest.approx(losses(expected), rel=1e-5)
    curves = [json.loads((each / "train.json").read_text())["validation_curve"] for each in (folder, expected)]
    assert [(check["step"], check["mean"]) for check in curves[0]] == [
        (check["step"], pytest.approx(check["mean"])) for check in curves[1]
    ]
    weights = [load_file(each / "adapter_model.safetensors") for each in (folder, expected)]
    for name, weight in weights[0].items():
        torch.testing.assert_close(weight, weights[1][name], rtol=1e-4, atol=1e-6)


def test_a_killed_run_ends_as_an_unbroken_one(model, tmp_path, uninterrupted):
    folder = tmp_path / "out"
    process = start_process(tmp_path / "tiny.yaml", model, folder, **LONG)
    wait_for(process, lambda: marks(folder))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (folder / "train.json").exists()
    result = run(model, folder, **LONG)
    assert result.record["resumed"] == 1
    check_equal(folder, uninterrupted.folder)
    assert result.record["tokens_seen"] == uninterrupted.record["tokens_seen"]
    assert result.record["examples_seen"] == uninterrupted.record["examples_seen"]


def test_ctrl_c_leaves_a_usable_checkpoint(model, tmp_path, uninterrupted):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = tmp_path / "out"
    process = start_process(tmp_path / "tiny.yaml", model, folder, **LONG)
    wait_for(process, lambda: marks(folder))
    process.send_signal(signal.SIGINT)
    printed = process.communicate()[0]
    assert process.returncode == 130, printed
    assert "stopping after this step" in printed
    assert "the same command resumes" in printed
    checkpoint, _ = last_checkpoint(folder / "checkpoints")
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), str(checkpoint))
    run(model, folder, **LONG)
    check_equal(folder, uninterrupted.folder)


def test_a_kill_after_the_last_step_loses_nothing(model, tmp_path, uninterrupted, monkeypatch):
    """All is trained, the adapter is not written yet."""
    from fin_plugins.training import train_loop

    def killed(*_):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr(train_loop, "publish_adapter", killed)
        run(model, tmp_path / "out", **LONG)
    run(model, tmp_path / "out", **LONG)
    check_equal(tmp_path / "out", uninterrupted.folder)


def test_a_half_written_checkpoint_is_never_used(tmp_path):
    for step in (2, 4):
        (tmp_path / f"checkpoint-{step}").mkdir()
    (tmp_path / "checkpoint-2" / "fin.json").write_text(json.dumps({"examples": 4, "seconds": 1.5}))
    checkpoint, stats = last_checkpoint(tmp_path)
    assert (checkpoint.name, stats.examples, stats.seconds, stats.resumed) == ("checkpoint-2", 4, 1.5, 1)
    remove_incomplete_checkpoints(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint-2"]
    shutil.rmtree(checkpoint)
    assert last_checkpoint(tmp_path) is None


def test_time_and_memory_of_all_parts_count():
    stats = RunStats(seconds=100.0, peak={"host": 1 << 60})
    callback = RunStatsCallback(stats)
    stats.count(2, 30, 40)
    total = callback.total()
    assert 100.0 <= total.seconds < 101.0
    assert total.peak["host"] == 1 << 60
    assert (total.examples, total.tokens, total.computed) == (2, 30, 40)
