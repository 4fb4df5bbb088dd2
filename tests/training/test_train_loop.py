"""A training run on tiny models: what it writes, how settings change it, and what it refuses."""

import json

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from fin_plugins.common.errors import FinError
from fin_plugins.data.dataset_rows import read_rows
from fin_plugins.data.text_hashes import read_trained_rows, row_hash
from tests.training.tiny_runs import losses, run

pytestmark = pytest.mark.usefixtures("sample_data", "one_thread")


@pytest.fixture(scope="module")
def model(tiny_models):
    return tiny_models["llama3"]


@pytest.fixture(scope="module")
def trained(model, tmp_path_factory):
    """One run for several tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIN_DATA", "sample")
        return run(model, tmp_path_factory.mktemp("run") / "out")


def test_files_and_record(trained):
    folder, record = trained.folder, trained.record
    names = {file.name for file in folder.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "train.json", "README.md", "training.svg"} <= names
    assert not any(name.endswith((".bin", ".pt")) or name.startswith(".") for name in names)
    assert "checkpoints" not in names
    assert (record["steps"], record["examples_seen"], record["method"]) == (8, 16, "lora")
    assert [point["step"] for point in record["validation_curve"]] == [0, 2, 4, 6, 8]
    assert record["config"]["batching"] == "shared_prefix"
    assert (record["config"]["dtype"], record["config"]["chat_template"]) == ("float32", True)
    assert record["tokens_seen"] >= record["tokens_computed"] > 0
    assert record["peak_memory_bytes"]["host"] > 1e8
    assert losses(folder)[-1] < losses(folder)[0]
    assert record == json.loads((folder / "train.json").read_text())


def test_the_rows_trained_on_are_recorded(trained):
    texts = {split: set(map(row_hash, rows["text"])) for split, rows in read_rows("fomc").splits.items()}
    recorded = read_trained_rows(trained.folder)
    assert len(recorded) == trained.record["tasks"][0]["used"] == 8  # the cap
    assert recorded <= texts["train"] and not recorded & texts["test"]


def test_the_best_checkpoint_is_published(trained):
    best = max(trained.record["validation_curve"][1:], key=lambda point: point["mean"])
    assert trained.record["best_step"] == best["step"]


def test_peft_loads_the_adapter_and_it_has_an_effect(trained, model):
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    ids = AutoTokenizer.from_pretrained(trained.folder)("label:", return_tensors="pt").input_ids
    before = base(ids).logits
    after = PeftModel.from_pretrained(base, str(trained.folder))(ids).logits
    assert (after - before).abs().max() > 1e-3


def test_a_tokenizer_without_a_pad_token(model, tmp_path):
    AutoModelForCausalLM.from_pretrained(model).save_pretrained(tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path / "base")
    for batching in ("padded", "shared_prefix"):
        result = run(tmp_path / "base", tmp_path / batching, batching=batching, max_steps=2, validation="off")
        assert result.record["steps"] == 2
    assert losses(tmp_path / "padded") == pytest.approx(losses(tmp_path / "shared_prefix"), rel=1e-4)


def test_packed_training_on_prompt_and_label(model, tmp_path):
    result = run(model, tmp_path / "out", loss="all", batch_size=1, max_length=4000, validation="off")
    assert result.record["config"]["batching"] == "packed"
    assert result.record["tokens_seen"] == result.record["tokens_computed"]
    assert result.record["examples_seen"] == 16


def test_replay_from_a_file_is_recorded_also_with_the_merged_checkpoint(model, tmp_path):
    file = tmp_path / "general.jsonl"
    file.write_text(json.dumps({"prompt": "What is a bond?", "response": "A loan."}) + "\n")
    replay = {"source": str(file), "ratio": 0.5}
    result = run(model, tmp_path / "out", epochs=1, validation="off", merge=True, replay=replay)
    assert (result.record["replay"]["used"], result.record["examples_seen"]) == (4, 12)
    recorded = read_trained_rows(result.folder)
    assert {row_hash("What is a bond?"), row_hash("a  LOAN.")} < recorded and len(recorded) == 10
    assert read_trained_rows(result.merged) == recorded


def test_replay_of_the_models_own_answers(model, tmp_path):
    replay = {"source": "self", "max_new_tokens": 4}
    record = run(model, tmp_path / "out", replay=replay, epochs=1, validation="off").record
    assert (record["replay"]["used"], record["examples_seen"]) == (1, 9)


def test_training_stops_early(model, tmp_path):
    # At this learning rate nothing changes, so no checkpoint is better than the first.
    record = run(model, tmp_path / "out", learning_rate=1e-12, validation={"rows": 6, "early_stop": 1}).record
    assert (record["steps"], record["best_step"]) == (4, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "qlora"}, "bitsandbytes|GPU"),
        ({"lora": {"target_modules": ["lm_head", "q_proj"]}}, "lora.target_modules: lm_head "),
        ({"lora": {"target_modules": ["nothing"]}}, "lora.target_modules: .*nothing"),
        ({"model": "no/such/model"}, "model: no/such/model: "),
    ],
)
def test_what_cannot_be_trained_is_refused(settings, message, model, tmp_path):
    with pytest.raises(FinError, match=message):
        run(settings.pop("model", model), tmp_path / "out", **settings)


def test_a_loss_that_is_not_finite_stops_with_advice(model, tmp_path):
    with pytest.raises(FinError, match=r"nan in step \d.*learning_rate \(now 1e\+30\)"):
        run(model, tmp_path / "out", learning_rate=1e30, validation="off")


def test_out_of_memory_gives_advice(model, tmp_path, monkeypatch):
    from fin_plugins.training.trainer import LabelTrainer

    def too_much(*_, **__):
        return torch.empty(1 << 60)  # raises the allocator's own error

    monkeypatch.setattr(LabelTrainer, "compute_loss", too_much)
    with pytest.raises(FinError, match=r"out of memory .*batch_size \(now 2\).*gradient_checkpointing: true"):
        run(model, tmp_path / "out", validation="off")


@pytest.mark.parametrize("method", ["lora", "full"])
def test_an_unchanged_model_is_not_published(model, tmp_path, method):
    folder = tmp_path / "out"
    with pytest.raises(FinError, match=r"learning_rate.*1e-60"):
        run(model, folder, method=method, learning_rate=1e-60, max_steps=2, validation="off")
    assert not (folder / "train.json").exists() and not list(folder.glob("*.safetensors"))
