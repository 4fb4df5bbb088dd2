"""A whole run against a loop written by hand: the same batches give the same losses and the same adapter."""

import math

import pytest
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, set_seed

from fin_plugins.training import fit
from fin_plugins.training.config import TrainConfig
from fin_plugins.training.prepare import prepare
from tests.training.running import SMALL, losses, run

pytestmark = pytest.mark.usefixtures("sample_data", "one_thread")

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
STEPS_OF_BATCHES = [(0, 2), (2, 4), (4, 5), (5, 7), (7, 9), (9, 10)]


@pytest.fixture
def batches(monkeypatch):
    """The batches that trainers made from now on train on, as lists of rows."""
    seen = []

    class Watched(fit.Trainer):
        def __init__(self, *arguments, **settings):
            super().__init__(*arguments, **settings)
            collate = self.data_collator
            self.data_collator = lambda rows: (self.is_in_train and seen.append(rows), collate(rows))[1]

    monkeypatch.setattr(fit, "Trainer", Watched)
    return seen


@pytest.mark.parametrize(
    ("batching", "loss"), [("shared_prefix", "completion"), ("padded", "completion"), ("padded", "all")]
)
def test_a_run_equals_a_loop_written_by_hand(batching, loss, batches, tiny_models, tmp_path):
    model = tiny_models["llama3"]
    result = run(model, tmp_path / "out", batching=batching, loss=loss, **SETTINGS)
    expect_every_row_once_an_epoch(batches, model, loss)
    expected, adapter = by_hand(model, batches)
    assert losses(result.folder) == pytest.approx(expected, rel=5e-6)
    assert expected[-1] < expected[0] - 0.1
    trained = load_file(result.folder / "adapter_model.safetensors")
    assert trained.keys() == adapter.keys()
    for name, weight in adapter.items():
        torch.testing.assert_close(
            trained[name], weight, rtol=1e-4, atol=5e-6, msg=lambda text, at=name: f"{at}: {text}"
        )


def expect_every_row_once_an_epoch(batches, model, loss):
    config = TrainConfig.model_validate({**SMALL, **SETTINGS, "model": str(model), "loss": loss})
    rows = sorted((one.ids, one.labels) for one in prepare(config, str(model)).tokens)
    assert [len(batch) for batch in batches] == [2] * 10
    for epoch in (batches[:5], batches[5:]):
        assert sorted((row["input_ids"], row["labels"]) for batch in epoch for row in batch) == rows
    assert batches[:5] != batches[5:]


def by_hand(folder, batches):
    """Losses and adapter of PyTorch, PEFT and nothing else."""
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    set_seed(SEED)
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    weights = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(weights, weight_decay=DECAY)
    found = []
    for step, (start, end) in enumerate(STEPS_OF_BATCHES):
        optimizer.param_groups[0]["lr"] = rate(step)
        counted = sum(label != -100 for batch in batches[start:end] for row in batch for label in row["labels"][1:])
        total = 0.0
        for batch in batches[start:end]:
            loss = summed_loss(model, batch) / counted
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(weights, NORM)
        optimizer.step()
        optimizer.zero_grad()
        found.append(total)
    return found, {name: weight.detach() for name, weight in get_peft_model_state_dict(model).items()}


def rate(step):
    """Cosine, after a linear warm-up whose first step trains."""
    if step < WARM_UP:
        return RATE * (step + 1) / (WARM_UP + 1)
    return RATE * (1 + math.cos(math.pi * (step - WARM_UP) / (STEPS - WARM_UP))) / 2


def summed_loss(model, rows):
    """Of a batch padded to its longest row, the whole vocabulary computed at every position."""
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
