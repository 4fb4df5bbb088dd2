"""Steps of a run: how many, where checkpoints and validations lie, and what learning rate each has."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import get_scheduler

from fin_plugins.common.errors import FinError
from fin_plugins.training.config import TrainConfig
from fin_plugins.training.report.record import read_record
from fin_plugins.training.steps import Steps, planned, start_above_zero
from tests.training.running import run

pytestmark = pytest.mark.usefixtures("sample_data", "one_thread")


@pytest.fixture(scope="module")
def model(tiny_models):
    return tiny_models["llama3"]


def plan(sequences: int, batch: int = 4, **settings) -> Steps:
    config = TrainConfig.model_validate({"model": "tiny", "tasks": ["fin_fomc"], "batch_size": batch, **settings})
    return planned(config, sequences, batch)


@pytest.mark.parametrize(
    ("sequences", "settings", "expected"),
    [
        (48, {"epochs": 1, "checkpoints_per_epoch": 1}, Steps(12, 12, 0)),
        (48, {"epochs": 0.5, "checkpoints_per_epoch": 1}, Steps(6, 6, 0)),
        (48, {"epochs": 0.5, "checkpoints_per_epoch": 2}, Steps(6, 6, 0)),
        (48, {"epochs": 2, "checkpoints_per_epoch": 2}, Steps(24, 6, 0)),
        (48, {"epochs": 1, "checkpoints_per_epoch": 100}, Steps(12, 1, 0)),
        (49, {"epochs": 2, "checkpoints_per_epoch": 1, "gradient_accumulation": 3}, Steps(10, 5, 0)),
        (48, {"epochs": 2, "max_steps": 9, "checkpoints_per_epoch": 2}, Steps(9, 3, 0)),
        (1, {"epochs": 1, "warmup_ratio": 0.9}, Steps(1, 1, 0)),
        (400, {"epochs": 1, "checkpoints_per_epoch": 1, "warmup_ratio": 0.01}, Steps(100, 100, 1)),
        (400, {"epochs": 1, "checkpoints_per_epoch": 1, "warmup_ratio": 0.29}, Steps(100, 100, 29)),
        (400, {"epochs": 1, "checkpoints_per_epoch": 1, "scheduler": "constant"}, Steps(100, 100, 0)),
    ],
)
def test_steps_are_whole_numbers(sequences, settings, expected):
    assert plan(sequences, **settings) == expected


def test_one_checkpoint_an_epoch_is_one_validation(model, tmp_path):
    result = run(model, tmp_path / "out", epochs=1, checkpoints_per_epoch=1, validation={"rows": 3, "early_stop": 2})
    record = read_record(result.folder)
    assert [check.step for check in record.validation_curve] == [0, 4]
    assert (record.steps, record.planned_steps, record.best_step) == (4, 4, 4)


@pytest.mark.parametrize("name", ["linear", "cosine", "constant_with_warmup"])
def test_a_warm_up_starts_above_zero_and_leaves_the_rest(name):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_scheduler(name, optimizer, num_warmup_steps=3, num_training_steps=10)
    expected = [1 / 4, 2 / 4, 3 / 4, *(schedule.lr_lambdas[0](step) for step in range(3, 10))]
    raised, rates = start_above_zero(schedule, 3), []
    for _ in range(10):
        rates += raised.get_last_lr()
        optimizer.step()
        raised.step()
    assert rates == pytest.approx(expected)
    assert min(rates) > 0 and rates[3] == 1


def test_the_first_step_of_a_warm_up_trains(model, tmp_path):
    result = run(model, tmp_path / "out", warmup_ratio=0.25, max_steps=8, validation="off")
    rates = [point.learning_rate for point in read_record(result.folder).loss_curve]
    assert rates[:3] == pytest.approx([0.01 / 3, 0.02 / 3, 0.01])
    assert min(rates) > 0


@pytest.mark.parametrize("settings", [{"max_steps": 1}, {"loss": "all", "max_length": 100_000, "epochs": 1}])
def test_a_run_of_one_step_trains(model, tmp_path, settings):
    result = run(model, tmp_path / "out", validation="off", **settings)
    assert result.record["steps"] == 1
    assert result.record["loss_curve"][0]["learning_rate"] > 0
    factors = load_file(result.folder / "adapter_model.safetensors")
    assert all(weight.any() for name, weight in factors.items() if "lora_B" in name)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_what_is_as_before_training_is_not_called_trained(model, tmp_path, method):
    folder = tmp_path / "out"
    with pytest.raises(FinError, match=r"learning_rate.*1e-60"):
        run(model, folder, method=method, learning_rate=1e-60, max_steps=2, validation="off")
    assert not (folder / "train.json").exists() and not list(folder.glob("*.safetensors"))


def test_a_resumed_run_keeps_its_rates(model, tmp_path, monkeypatch):
    from fin_plugins.training import fit

    settings = {"warmup_ratio": 0.5, "epochs": 1, "validation": "off"}
    unbroken = run(model, tmp_path / "unbroken", **settings)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fit.Keeper, "on_save", stop_after(fit.Keeper.on_save))
        run(model, tmp_path / "out", **settings)
    resumed = run(model, tmp_path / "out", **settings)
    assert resumed.record["resumed"] == 1
    for key in ("loss", "learning_rate"):
        curves = [[point[key] for point in one.record["loss_curve"]] for one in (unbroken, resumed)]
        assert curves[1] == pytest.approx(curves[0], rel=1e-5)
    weights = [load_file(one.folder / "adapter_model.safetensors") for one in (unbroken, resumed)]
    for name, weight in weights[0].items():
        torch.testing.assert_close(weight, weights[1][name], rtol=1e-4, atol=1e-6)


def stop_after(save):
    """A process that dies behind its first checkpoint."""

    def saved(*arguments, **settings):
        save(*arguments, **settings)
        raise KeyboardInterrupt

    return saved
