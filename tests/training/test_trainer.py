"""The trainer: it equals a loop written by hand, counts steps as whole numbers, and warms up from above 0."""

import json
import math
import os
import subprocess
import sys

import pytest
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    get_scheduler,
    set_seed,
)

from fin_plugins.training import train_loop
from fin_plugins.training.train_config import TrainConfig
from fin_plugins.training.trainer import PlannedSteps, plan_steps, raise_warm_up
from fin_plugins.training.training_data import load_training_data
from tests.scoring.factories import SIZES, save_tiny
from tests.training.tiny_runs import SMALL, losses, run

pytestmark = pytest.mark.usefixtures("sample_data", "one_thread")


@pytest.fixture(scope="module")
def model(tiny_models):
    return tiny_models["llama3"]


SEED, STEPS, WARM_UP, RATE, DECAY, NORM = 42, 6, 2, 0.01, 0.1, 0.02
SETTINGS = {
    "tasks": [{"task": "fin_fomc", "cap": 10}],
    # Two epochs of three steps: 4 and 4 rows, in two batches each, then 2 rows in one batch.
    "batch_size": 2,
    "gradient_accumulation": 2,
    "learning_rate": RATE,
    "warmup_ratio": WARM_UP / STEPS,
    "weight_decay": DECAY,
    "max_grad_norm": NORM,
    "validation": "off",
    "seed": SEED,
}
BATCHES_OF_STEPS = [(0, 2), (2, 4), (4, 5), (5, 7), (7, 9), (9, 10)]


@pytest.fixture
def batches(monkeypatch):
    """The batches that trainers train on from now on, as lists of rows."""
    recorded = []

    class Recorder(train_loop.LabelTrainer):
        def __init__(self, *arguments, **settings):
            super().__init__(*arguments, **settings)
            collate = self.data_collator
            self.data_collator = lambda rows: (self.is_in_train and recorded.append(rows), collate(rows))[1]

    monkeypatch.setattr(train_loop, "LabelTrainer", Recorder)
    return recorded


@pytest.mark.parametrize(
    ("batching", "loss"), [("shared_prefix", "completion"), ("padded", "completion"), ("padded", "all")]
)
def test_a_run_equals_a_loop_written_by_hand(batching, loss, batches, model, tmp_path):
    result = run(model, tmp_path / "out", batching=batching, loss=loss, **SETTINGS)
    check_every_row_occurs_once_per_epoch(batches, model, loss)
    expected, adapter = by_hand(model, batches)
    assert losses(result.folder) == pytest.approx(expected, rel=5e-6)
    assert expected[-1] < expected[0] - 0.1
    trained = load_file(result.folder / "adapter_model.safetensors")
    assert trained.keys() == adapter.keys()
    for name, weight in adapter.items():
        torch.testing.assert_close(
            trained[name], weight, rtol=1e-4, atol=5e-6, msg=lambda text, at=name: f"{at}: {text}"
        )


def check_every_row_occurs_once_per_epoch(batches, model, loss):
    config = TrainConfig.model_validate({**SMALL, **SETTINGS, "model": str(model), "loss": loss})
    rows = sorted((example.ids, example.labels) for example in load_training_data(config, str(model)).examples)
    assert [len(batch) for batch in batches] == [2] * 10
    for epoch in (batches[:5], batches[5:]):
        assert sorted((row["input_ids"], row["labels"]) for batch in epoch for row in batch) == rows
    assert batches[:5] != batches[5:]


def by_hand(folder, batches):
    """Losses and adapter, with PyTorch and PEFT only."""
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    set_seed(SEED)
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, weight_decay=DECAY)
    curve = []
    for step, (start, end) in enumerate(BATCHES_OF_STEPS):
        optimizer.param_groups[0]["lr"] = learning_rate(step)
        counted = sum(label != -100 for batch in batches[start:end] for row in batch for label in row["labels"][1:])
        total = 0.0
        for batch in batches[start:end]:
            loss = summed_loss(model, batch) / counted
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(weights, NORM)
        optimizer.step()
        optimizer.zero_grad()
        curve.append(total)
    return curve, {name: weight.detach() for name, weight in get_peft_model_state_dict(model).items()}


def learning_rate(step):
    """Cosine, after a linear warm-up whose first step trains."""
    if step < WARM_UP:
        return RATE * (step + 1) / (WARM_UP + 1)
    return RATE * (1 + math.cos(math.pi * (step - WARM_UP) / (STEPS - WARM_UP))) / 2


def summed_loss(model, rows):
    """Loss of a batch padded to its longest row, with logits at every position."""
    longest = max(len(row["input_ids"]) for row in rows)
    ids, mask, labels = (
        torch.tensor([row + [filler] * (longest - len(row)) for row in column])
        for filler, column in (
            (0, [row["input_ids"] for row in rows]),
            (0, [[1] * len(row["input_ids"]) for row in rows]),
            (-100, [row["labels"] for row in rows]),
        )
    )
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")


COMMON = {**SIZES, "vocab_size": 300, "max_position_embeddings": 4096, "num_key_value_heads": 2, "head_dim": 8}
EXPERT_MODELS = {
    "qwen3_moe": (
        Qwen3MoeForCausalLM,
        Qwen3MoeConfig(**COMMON, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16),
    ),
    "mixtral": (MixtralForCausalLM, MixtralConfig(**COMMON, num_local_experts=4, num_experts_per_tok=2)),
}
# One batch of all rows, so the first loss is that of the base on them.
ONE_BATCH = {
    "tasks": [{"task": "fin_fomc", "cap": 3}],
    "batch_size": 3,
    "epochs": 2,
    "scheduler": "constant",
    "validation": "off",
}


@pytest.mark.parametrize("loss", ["completion", "all"])
@pytest.mark.parametrize("name", EXPERT_MODELS)
def test_a_mixture_of_experts_trains_without_the_routers_loss(name, loss, tiny_models, tmp_path):
    model_class, config = EXPERT_MODELS[name]
    config.router_aux_loss_coef, config.output_router_logits = 0.1, True
    model = save_tiny(tmp_path / name, tiny_models["llama3"], model_class, config)
    result = run(model, tmp_path / "out", loss=loss, **ONE_BATCH)
    assert result.record["config"]["batching"] == ("packed" if loss == "all" else "shared_prefix")
    curve = losses(result.folder)
    assert curve[0] == pytest.approx(mean_loss_of_single_rows(model, loss), rel=1e-5)
    assert curve[-1] < curve[0]


def mean_loss_of_single_rows(folder, loss):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_router_logits=False)
    config = TrainConfig.model_validate({**SMALL, **ONE_BATCH, "model": str(folder), "loss": loss})
    total, counted = 0.0, 0
    with torch.no_grad():
        for example in load_training_data(config, str(folder)).examples:
            labels = torch.tensor(example.labels[1:])
            logits = model(input_ids=torch.tensor([example.ids])).logits[0, :-1]
            total += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
            counted += int((labels != -100).sum())
    return total / counted


@pytest.mark.prove  # three processes that load torch
def test_two_processes_train_as_one(model, tmp_path):
    settings = {**SMALL, "model": str(model), "validation": {"rows": 7}}
    file = tmp_path / "tiny.yaml"
    file.write_text(json.dumps({**settings, "batch_size": 1}), encoding="utf-8")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    machine = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    two = tmp_path / "two"
    process = subprocess.run(
        [*launch, *machine, "-m", "fin_plugins.training", str(file), "--out", str(two)],
        env={**os.environ, "FIN_DATA": "sample", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    assert process.stderr.count("reading and rendering") == 1
    one = run(model, tmp_path / "one", validation={"rows": 7})
    assert losses(two) == pytest.approx(losses(one.folder), rel=1e-5)
    record = json.loads((two / "train.json").read_text())
    for count in ("steps", "examples_seen", "tokens_seen"):
        assert record[count] == one.record[count]
    curves = [[point["mean"] for point in each["validation_curve"]] for each in (record, one.record)]
    assert curves[0] == pytest.approx(curves[1])
    weights = [load_file(folder / "adapter_model.safetensors") for folder in (two, one.folder)]
    for name, weight in weights[0].items():
        torch.testing.assert_close(weight, weights[1][name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("sequences", "settings", "expected"),
    [
        (48, {"epochs": 1, "checkpoints_per_epoch": 1}, PlannedSteps(12, 12, 0)),
        (48, {"epochs": 0.5, "checkpoints_per_epoch": 1}, PlannedSteps(6, 6, 0)),
        (48, {"epochs": 0.5, "checkpoints_per_epoch": 2}, PlannedSteps(6, 6, 0)),
        (48, {"epochs": 2, "checkpoints_per_epoch": 2}, PlannedSteps(24, 6, 0)),
        (48, {"epochs": 1, "checkpoints_per_epoch": 100}, PlannedSteps(12, 1, 0)),
        (49, {"epochs": 2, "checkpoints_per_epoch": 1, "gradient_accumulation": 3}, PlannedSteps(10, 5, 0)),
        (48, {"epochs": 2, "max_steps": 9, "checkpoints_per_epoch": 2}, PlannedSteps(9, 3, 0)),
        (1, {"epochs": 1, "warmup_ratio": 0.9}, PlannedSteps(1, 1, 0)),
        (400, {"epochs": 1, "checkpoints_per_epoch": 1, "warmup_ratio": 0.01}, PlannedSteps(100, 100, 1)),
        (400, {"epochs": 1, "checkpoints_per_epoch": 1, "warmup_ratio": 0.29}, PlannedSteps(100, 100, 29)),
        (400, {"epochs": 1, "checkpoints_per_epoch": 1, "scheduler": "constant"}, PlannedSteps(100, 100, 0)),
    ],
)
def test_steps_are_whole_numbers(sequences, settings, expected):
    config = TrainConfig.model_validate({"model": "tiny", "tasks": ["fin_fomc"], "batch_size": 4, **settings})
    assert plan_steps(config, sequences, 4) == expected


def test_one_checkpoint_per_epoch_is_one_validation(model, tmp_path):
    record = run(
        model, tmp_path / "out", epochs=1, checkpoints_per_epoch=1, validation={"rows": 3, "early_stop": 2}
    ).record
    assert [point["step"] for point in record["validation_curve"]] == [0, 4]
    assert (record["steps"], record["planned_steps"], record["best_step"]) == (4, 4, 4)


@pytest.mark.parametrize("name", ["linear", "cosine", "constant_with_warmup"])
def test_a_warm_up_starts_above_zero_and_leaves_the_rest(name):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_scheduler(name, optimizer, num_warmup_steps=3, num_training_steps=10)
    expected = [1 / 4, 2 / 4, 3 / 4, *(schedule.lr_lambdas[0](step) for step in range(3, 10))]
    raised, rates = raise_warm_up(schedule, 3), []
    for _ in range(10):
        rates += raised.get_last_lr()
        optimizer.step()
        raised.step()
    assert rates == pytest.approx(expected)
    assert min(rates) > 0 and rates[3] == 1


@pytest.mark.parametrize("settings", [{"max_steps": 1}, {"loss": "all", "max_length": 100_000, "epochs": 1}])
def test_a_run_of_one_step_trains(model, tmp_path, settings):
    result = run(model, tmp_path / "out", validation="off", **settings)
    assert result.record["steps"] == 1
    assert result.record["loss_curve"][0]["learning_rate"] > 0
    factors = load_file(result.folder / "adapter_model.safetensors")
    assert all(weight.any() for name, weight in factors.items() if "lora_B" in name)


def test_a_resumed_run_keeps_its_learning_rates(model, tmp_path, monkeypatch):
    settings = {"warmup_ratio": 0.5, "epochs": 1, "validation": "off"}
    uninterrupted = run(model, tmp_path / "uninterrupted", **settings)
    rates = [point["learning_rate"] for point in uninterrupted.record["loss_curve"]]
    assert rates[:3] == pytest.approx([RATE / 3, 2 * RATE / 3, RATE]) and min(rates) > 0
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train_loop.RunStatsCallback, "on_save", die_after(train_loop.RunStatsCallback.on_save))
        run(model, tmp_path / "out", **settings)
    resumed = run(model, tmp_path / "out", **settings)
    assert resumed.record["resumed"] == 1
    for key in ("loss", "learning_rate"):
        curves = [[point[key] for point in each.record["loss_curve"]] for each in (uninterrupted, resumed)]
        assert curves[1] == pytest.approx(curves[0], rel=1e-5)
    weights = [load_file(each.folder / "adapter_model.safetensors") for each in (uninterrupted, resumed)]
    for name, weight in weights[0].items():
        torch.testing.assert_close(weight, weights[1][name], rtol=1e-4, atol=1e-6)


def die_after(on_save):
    """A process that dies after its first checkpoint."""

    def died(*arguments, **settings):
        on_save(*arguments, **settings)
        raise KeyboardInterrupt

    return died
