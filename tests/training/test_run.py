"""A run from its file to the adapter, on tiny models: what it leaves, and what is in the way of it."""

import json

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from fin_plugins.common.errors import FinError
from fin_plugins.data.rows import read_rows
from fin_plugins.data.trained_rows import read_trained_rows, row_hash
from fin_plugins.training.report.record import read_record
from tests.training.running import losses, run

pytestmark = pytest.mark.usefixtures("sample_data", "one_thread")


@pytest.fixture(scope="module")
def model(tiny_models):
    return tiny_models["llama3"]


@pytest.fixture(scope="module")
def trained(model, tmp_path_factory):
    """One run that several tests look at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIN_DATA", "sample")
        return run(model, tmp_path_factory.mktemp("run") / "out")


def test_what_a_run_leaves(trained, model):
    folder = trained.folder
    names = {file.name for file in folder.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "train.json", "README.md", "training.svg"} <= names
    assert not any(name.endswith((".bin", ".pt")) or name.startswith(".") for name in names)
    assert "checkpoints" not in names
    record = read_record(folder)
    assert (record.steps, record.examples_seen, record.method) == (8, 16, "lora")
    assert [check.step for check in record.validation_curve] == [0, 2, 4, 6, 8]
    assert record.config["batching"] == "shared_prefix"
    assert (record.config["dtype"], record.config["chat_template"]) == ("float32", True)
    assert record.tokens_seen >= record.tokens_computed > 0
    assert record.peak_memory_bytes["host"] > 1e8
    assert losses(folder)[-1] < losses(folder)[0]
    assert trained.record == json.loads((folder / "train.json").read_text())


def test_the_rows_trained_on_are_recorded(trained):
    texts = {split: set(map(row_hash, rows["text"])) for split, rows in read_rows("fomc").splits.items()}
    recorded = read_trained_rows(trained.folder)
    assert len(recorded) == read_record(trained.folder).tasks[0].used == 8  # the cap's
    assert recorded <= texts["train"] and not recorded & texts["test"]


def test_replayed_rows_are_recorded_and_a_merged_checkpoint_has_the_record(model, tmp_path):
    file = tmp_path / "general.jsonl"
    file.write_text(json.dumps({"prompt": "What is a bond?", "response": "A loan."}) + "\n")
    replay = {"source": str(file), "ratio": 0.1}
    result = run(model, tmp_path / "out", max_steps=1, validation="off", merge=True, replay=replay)
    recorded = read_trained_rows(result.folder)
    assert {row_hash("What is a bond?"), row_hash("a  LOAN.")} < recorded and len(recorded) == 10
    assert read_trained_rows(result.merged) == recorded


def test_the_best_checkpoint_is_kept(trained):
    record = read_record(trained.folder)
    best = max(record.validation_curve[1:], key=lambda check: check.mean)
    assert record.best_step == best.step


def test_peft_loads_the_adapter_and_it_does_something(trained, model):
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    ids = AutoTokenizer.from_pretrained(trained.folder)("label:", return_tensors="pt").input_ids
    before = base(ids).logits
    after = PeftModel.from_pretrained(base, str(trained.folder))(ids).logits
    assert (after - before).abs().max() > 1e-3


def test_a_finished_run_is_not_run_again(trained, model, capsys):
    times = {file: file.stat().st_mtime_ns for file in trained.folder.iterdir()}
    again = run(model, trained.folder)
    assert {file: file.stat().st_mtime_ns for file in trained.folder.iterdir()} == times
    assert again.record == trained.record
    assert "holds this run, finished" in capsys.readouterr().err


def test_another_run_does_not_overwrite_it(trained, model):
    with pytest.raises(FinError, match=r"holds another run, which differs in learning_rate, lora: .*--fresh"):
        run(model, trained.folder, learning_rate=0.02, lora={"r": 2})


def test_fresh_removes_runs_only(model, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FinError, match="not the folder of a training run"):
        run(model, tmp_path, fresh=True)
    assert (tmp_path / "thesis.tex").exists()


def test_fresh_trains_anew(model, tmp_path):
    first = run(model, tmp_path / "out", max_steps=1, validation="off")
    again = run(model, tmp_path / "out", max_steps=2, validation="off", fresh=True)
    assert (first.record["steps"], again.record["steps"]) == (1, 2)
    assert again.record["best_step"] is None


@pytest.mark.parametrize(
    ("method", "flags"),
    [
        ("lora", {"use_rslora": False, "use_dora": False}),
        ("rslora", {"use_rslora": True, "use_dora": False}),
        ("dora", {"use_rslora": False, "use_dora": True}),
    ],
)
def test_methods_and_their_merged_checkpoints(method, flags, model, tmp_path):
    """Merged: W + scale·B·A (DoRA: PEFT's own) in float32, rounded once; the checkpoint answers as base and adapter."""
    result = run(model, tmp_path / method, method=method, max_steps=2, validation="off", merge=True)
    config = json.loads((result.folder / "adapter_config.json").read_text())
    assert {name: config[name] for name in flags} == flags
    ids = torch.arange(20)[None]
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    with_adapter = PeftModel.from_pretrained(base, str(result.folder)).eval()
    merged = AutoModelForCausalLM.from_pretrained(result.merged, dtype=torch.float32).eval()
    torch.testing.assert_close(merged(ids).logits, with_adapter(ids).logits, rtol=1e-4, atol=1e-4)
    assert AutoTokenizer.from_pretrained(result.merged).chat_template is not None


def test_a_bfloat16_base_is_merged_in_float32_and_rounded_once(model, tmp_path):
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    base.save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path / "base")
    result = run(tmp_path / "base", tmp_path / "out", max_steps=2, validation="off", merge=True)
    adapter = load_file(result.folder / "adapter_model.safetensors")
    merged = load_file(result.merged / "model.safetensors")
    name = "model.layers.0.mlp.down_proj"
    a, b = (adapter[f"base_model.model.{name}.lora_{part}.weight"].double() for part in "AB")
    weight = load_file(tmp_path / "base" / "model.safetensors")[f"{name}.weight"].double()
    exact = (weight + 8 / 4 * b @ a).to(torch.bfloat16)
    assert merged[f"{name}.weight"].dtype == torch.bfloat16
    # float32 and float64 may round the rare tie apart.
    assert (merged[f"{name}.weight"] == exact).float().mean() > 0.999


def test_factors_are_trained_in_float32_whatever_the_base(model, tmp_path):
    """Also behind a validation, which scores the model that is being trained."""
    factors = load_file(run(model, tmp_path / "out", dtype="bfloat16").folder / "adapter_model.safetensors")
    assert {weight.dtype for weight in factors.values()} == {torch.float32}
    trained = [weight for name, weight in factors.items() if "lora_B" in name]  # A starts as numbers of bfloat16
    assert all((weight != weight.bfloat16().float()).any() for weight in trained)


def test_full_training_leaves_a_checkpoint(model, tmp_path):
    result = run(model, tmp_path / "full", method="full", learning_rate=1e-3, max_steps=2, validation="off", merge=True)
    assert result.merged is None  # it is whole already
    before = AutoModelForCausalLM.from_pretrained(model)
    after = AutoModelForCausalLM.from_pretrained(result.folder)
    changed = [not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True)]
    assert all(changed)


def test_tied_embeddings_are_trained_once_and_stay_tied(model, tmp_path):
    config = AutoConfig.from_pretrained(model)
    config.tie_word_embeddings = True
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "tied")
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path / "tied")
    for method in ("lora", "full"):
        result = run(tmp_path / "tied", tmp_path / method, method=method, max_steps=1, validation="off", merge=True)
        whole = AutoModelForCausalLM.from_pretrained(result.merged or result.folder)
        assert whole.get_input_embeddings().weight is whole.get_output_embeddings().weight


def test_a_tokenizer_without_a_pad_token(model, tmp_path):
    AutoModelForCausalLM.from_pretrained(model).save_pretrained(tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path / "base")
    for batching in ("padded", "shared_prefix"):
        result = run(tmp_path / "base", tmp_path / batching, batching=batching, max_steps=2)
        assert result.record["steps"] == 2
    assert losses(tmp_path / "padded") == pytest.approx(losses(tmp_path / "shared_prefix"), rel=1e-4)


def test_packed_training_over_the_whole_text(model, tmp_path):
    result = run(model, tmp_path / "out", loss="all", batch_size=1, max_length=4000, validation="off")
    assert result.record["config"]["batching"] == "packed"
    assert result.record["tokens_seen"] == result.record["tokens_computed"]
    assert result.record["examples_seen"] == 16


def test_replay_from_a_file_and_of_the_models_own(model, tmp_path):
    talk = {"prompt": "Name a colour.", "response": "Blue."}
    (tmp_path / "talk.jsonl").write_text(json.dumps(talk) + "\n")
    source = {"source": str(tmp_path / "talk.jsonl"), "ratio": 0.5}
    result = run(model, tmp_path / "file", replay=source, epochs=1, validation="off")
    assert (result.record["replay"]["used"], result.record["examples_seen"]) == (4, 12)
    own = run(model, tmp_path / "own", replay={"source": "self", "max_new_tokens": 4}, epochs=1, validation="off")
    assert own.record["replay"]["used"] == 1
    assert own.record["examples_seen"] == 9


def test_training_stops_early(model, tmp_path):
    # At this rate nothing changes, so no checkpoint is better than the first.
    result = run(model, tmp_path / "out", learning_rate=1e-12, validation={"rows": 6, "early_stop": 1})
    assert (result.record["steps"], result.record["best_step"]) == (4, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "qlora"}, "qlora needs bitsandbytes|qlora needs a GPU"),
        ({"lora": {"target_modules": ["lm_head", "q_proj"]}}, "lora.target_modules: lm_head cannot be adapted"),
        ({"lora": {"target_modules": ["nothing"]}}, "lora.target_modules: .*nothing"),
        ({"model": "no/such/model"}, "model: no/such/model: cannot be loaded"),
    ],
)
def test_what_cannot_be_trained_is_said(settings, message, model, tmp_path):
    with pytest.raises(FinError, match=message):
        run(settings.pop("model", model), tmp_path / "out", **settings)


def test_a_loss_that_is_no_number_stops_with_advice(model, tmp_path):
    with pytest.raises(FinError, match=r"the loss became nan in step \d.*lower learning_rate \(now 1e\+30\)"):
        run(model, tmp_path / "out", learning_rate=1e30, validation="off")


def test_out_of_memory_says_what_to_lower(model, tmp_path, monkeypatch):
    from fin_plugins.training.trainer import Trainer

    def too_much(*_, **__):
        return torch.empty(1 << 60)  # the allocator's own error

    monkeypatch.setattr(Trainer, "compute_loss", too_much)
    with pytest.raises(FinError, match=r"out of memory .*halve batch_size \(now 2\).*gradient_checkpointing: true"):
        run(model, tmp_path / "out", validation="off")
