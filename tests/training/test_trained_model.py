"""The model of a run: the base as loaded, adapters of each method, merged checkpoints."""

import json

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, Gemma2Config, Gemma2ForCausalLM

from fin_plugins.training.train_config import TrainConfig
from fin_plugins.training.trained_model import load_base_model
from tests.scoring.factories import SIZES, save_tiny
from tests.training.tiny_runs import run

pytestmark = pytest.mark.usefixtures("sample_data", "one_thread")

SHORT = {"max_steps": 2, "validation": "off"}


@pytest.fixture(scope="module")
def model(tiny_models):
    return tiny_models["llama3"]


def test_a_soft_cap_of_attention_scores_has_an_effect(tiny_models, tmp_path):
    """`sdpa`, the default of Gemma 2 before transformers 5.24, silently ignores it."""
    config = Gemma2Config(
        vocab_size=300, num_key_value_heads=2, head_dim=8, initializer_range=0.9, attn_logit_softcapping=1.0, **SIZES
    )
    folder = save_tiny(tmp_path / "gemma2", tiny_models["base"], Gemma2ForCausalLM, config)
    training = TrainConfig.model_validate({"model": str(folder), "tasks": ["fin_fomc"], "dtype": "float32"})
    tokens = torch.tensor([[5, 6, 7, 8, 9]])
    eager = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        torch.testing.assert_close(load_base_model(training, str(folder))(tokens).logits, eager(tokens).logits)
        uncapped = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        for layer in uncapped.model.layers:
            layer.self_attn.attn_logit_softcapping = None
        assert not torch.allclose(uncapped(tokens).logits, eager(tokens).logits, atol=1e-3)


@pytest.mark.parametrize(
    ("method", "flags"),
    [
        ("lora", {"use_rslora": False, "use_dora": False}),
        ("rslora", {"use_rslora": True, "use_dora": False}),
        ("dora", {"use_rslora": False, "use_dora": True}),
    ],
)
def test_a_merged_checkpoint_answers_as_base_and_adapter(method, flags, model, tmp_path):
    result = run(model, tmp_path / method, method=method, merge=True, **SHORT)
    config = json.loads((result.folder / "adapter_config.json").read_text())
    assert {name: config[name] for name in flags} == flags
    ids = torch.arange(20)[None]
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    with_adapter = PeftModel.from_pretrained(base, str(result.folder)).eval()
    merged = AutoModelForCausalLM.from_pretrained(result.merged, dtype=torch.float32).eval()
    torch.testing.assert_close(merged(ids).logits, with_adapter(ids).logits, rtol=1e-4, atol=1e-4)
    assert AutoTokenizer.from_pretrained(result.merged).chat_template is not None
    if method == "lora":
        check_against_mergekit(model, result, tmp_path)


def check_against_mergekit(base, result, folder):
    """mergekit merges the same adapter to the same weights; vLLM and PEFT are in `tests/end_to_end`."""
    from mergekit.config import MergeConfiguration
    from mergekit.merge import MergeOptions, run_merge

    recipe = {
        "merge_method": "linear",
        "dtype": "float32",
        "models": [{"model": f"{base}+{result.folder}", "parameters": {"weight": 1.0}}],
    }
    options = MergeOptions(lora_merge_cache=str(folder / "cache"), copy_tokenizer=False, quiet=True)
    run_merge(MergeConfiguration.model_validate(recipe), str(folder / "theirs"), options)
    ours, theirs, untrained = (
        load_file(each / "model.safetensors") for each in (result.merged, folder / "theirs", base)
    )
    for name, weight in theirs.items():
        torch.testing.assert_close(weight, ours[name], rtol=1e-5, atol=1e-6)
    name = "model.layers.0.mlp.down_proj.weight"
    assert not torch.equal(theirs[name], untrained[name])


def test_a_bfloat16_base_is_merged_in_float32_and_rounded_once(model, tmp_path):
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    base.save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path / "base")
    result = run(tmp_path / "base", tmp_path / "out", merge=True, **SHORT)
    adapter = load_file(result.folder / "adapter_model.safetensors")
    merged = load_file(result.merged / "model.safetensors")
    name = "model.layers.0.mlp.down_proj"
    a, b = (adapter[f"base_model.model.{name}.lora_{part}.weight"].double() for part in "AB")
    weight = load_file(tmp_path / "base" / "model.safetensors")[f"{name}.weight"].double()
    exact = (weight + 8 / 4 * b @ a).to(torch.bfloat16)
    assert merged[f"{name}.weight"].dtype == torch.bfloat16
    # float32 and float64 may round a rare tie differently.
    assert (merged[f"{name}.weight"] == exact).float().mean() > 0.999


def test_factors_are_trained_in_float32_whatever_the_base(model, tmp_path):
    """Also after a validation, which scores the model being trained."""
    factors = load_file(run(model, tmp_path / "out", dtype="bfloat16").folder / "adapter_model.safetensors")
    assert {weight.dtype for weight in factors.values()} == {torch.float32}
    trained = [weight for name, weight in factors.items() if "lora_B" in name]  # A starts with bfloat16 numbers
    assert all((weight != weight.bfloat16().float()).any() for weight in trained)


def test_full_training_writes_a_checkpoint(model, tmp_path):
    result = run(model, tmp_path / "full", method="full", learning_rate=1e-3, merge=True, **SHORT)
    assert result.merged is None  # it needs no merging
    before = AutoModelForCausalLM.from_pretrained(model)
    after = AutoModelForCausalLM.from_pretrained(result.folder)
    changed = [not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True)]
    assert all(changed)


def test_tied_embeddings_stay_tied(model, tmp_path):
    config = AutoConfig.from_pretrained(model)
    config.tie_word_embeddings = True
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "tied")
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path / "tied")
    for method in ("lora", "full"):
        result = run(tmp_path / "tied", tmp_path / method, method=method, max_steps=1, validation="off", merge=True)
        loaded = AutoModelForCausalLM.from_pretrained(result.merged or result.folder)
        assert loaded.get_input_embeddings().weight is loaded.get_output_embeddings().weight
