"""Any adapter after any other on one `fin_hf`: the very answers that PEFT alone gives on a base loaded for it."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from fin_plugins.common.errors import FinError
from fin_plugins.scoring.adapters import WEIGHTS, Adapter, read_adapter
from fin_plugins.scoring.hf import FinHF
from tests.evaluation.making import change_settings
from tests.scoring.tiny import SIZES, save_tiny

VOCABULARY = 258  # of the tokenizer
TEXT = [*range(3, 40), 100, 5, 200, 5]
QV = ["q_proj", "v_proj"]
KINDS: dict[str, dict[str, Any]] = {
    "plain": {"target_modules": QV},
    "other_plain": {"target_modules": ["q_proj", "down_proj"], "r": 2},
    "dora": {"target_modules": QV, "use_dora": True},
    "token_rows": {"target_modules": QV, "trainable_token_indices": [5, 100, 200]},
    "saved_embeddings": {"target_modules": QV, "modules_to_save": ["embed_tokens"]},
    "saved_norm": {"target_modules": ["k_proj"], "modules_to_save": ["norm"]},
    "lora_on_embeddings": {"target_modules": ["q_proj", "embed_tokens"]},
    "lora_on_head": {"target_modules": ["q_proj", "lm_head"]},
}
TIED = {"saved_and_tied": {"target_modules": QV, "modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}}
EXPERTS: dict[str, dict[str, Any]] = {
    "plain": {"target_modules": QV},
    "ups": {"target_modules": [], "target_parameters": ["mlp.experts.gate_up_proj"]},
    "downs": {"target_modules": [], "target_parameters": ["mlp.experts.down_proj"]},
    "all": {"target_modules": QV, "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]},
}
Zoo = tuple[Path, dict[str, Adapter]]


@pytest.fixture(scope="module", params=["tied", "untied", "experts"])
def zoo(request: pytest.FixtureRequest, tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    """A base and one adapter of every kind, and two that are refused."""
    root = tmp_path_factory.mktemp(request.param)
    common = {**SIZES, "vocab_size": VOCABULARY, "num_key_value_heads": 2, "initializer_range": 0.2}
    kinds = {**KINDS, **(TIED if request.param == "tied" else {})}
    model, config = tf.LlamaForCausalLM, tf.LlamaConfig(**common, tie_word_embeddings=request.param == "tied")
    if request.param == "experts":
        experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8}
        kinds, model, config = EXPERTS, tf.Qwen3MoeForCausalLM, tf.Qwen3MoeConfig(**common, **experts)
    base = save_tiny(root / "base", tiny_models["base"], model, config)
    adapters = {name: save(root / name, base, **kind) for name, kind in kinds.items()}
    if "lora_on_head" in adapters:
        adapters["lora_on_head_stripped"] = without_base_layers(adapters["lora_on_head"], root / "stripped")
    broken = change_settings(shutil.copytree(adapters["plain"].path, root / "broken"), target_modules=["nowhere"])
    wide = save_tiny(root / "wide", tiny_models["base"], tf.LlamaForCausalLM, tf.LlamaConfig(**common | WIDE))
    return base, adapters | {"broken": read_adapter("broken", broken), "wide": save(root / "w", wide, **KINDS["plain"])}


WIDE = {"hidden_size": 64}


def save(folder: Path, base: Path, r: int = 4, **settings: Any) -> Adapter:
    torch.manual_seed(len(folder.name))
    model = tf.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=r, **settings))
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data += torch.randn_like(weight) * 0.1
    model.save_pretrained(folder)
    return read_adapter(folder.name, folder)


def without_base_layers(adapter: Adapter, folder: Path) -> Adapter:
    """The same without the base's own weights that PEFT saves beside LoRA on embeddings, as other tools write it."""
    shutil.copytree(adapter.path, folder)
    kept = {name: tensor for name, tensor in load_file(folder / WEIGHTS).items() if "base_layer" not in name}
    save_file(kept, folder / WEIGHTS, {"format": "pt"})
    return read_adapter("lora_on_head_stripped", folder)


def alone(base: Path, adapter: Adapter | None) -> list[float] | None:
    """What PEFT says on a base loaded for it; None where it refuses."""
    model: Any = tf.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    try:
        model = PeftModel.from_pretrained(model, adapter.path).eval() if adapter else model
    except (ValueError, RuntimeError):
        return None
    with torch.inference_mode():
        logprobs = model(torch.tensor([TEXT])).logits[0, :-1].log_softmax(-1)
    return [float(row[token]) for row, token in zip(logprobs, TEXT[1:], strict=True)]


def engine(base: Path) -> FinHF:
    return FinHF(pretrained=str(base), device="cpu", dtype="float32")


def refusal(lm: FinHF, adapter: Adapter) -> str:
    with pytest.raises(FinError) as refused:
        lm.use_adapter(adapter)
    return str(refused.value)


def test_any_adapter_after_any_other_answers_as_peft_alone(zoo: Zoo) -> None:
    base, adapters = zoo
    truth = {name: alone(base, adapters[name] if name else None) for name in (None, *adapters)}
    assert [name for name, answers in truth.items() if answers is None] == ["broken", "wide"]
    lm, said = engine(base), {name: refusal(engine(base), adapters[name]) for name in ("broken", "wide")}
    draw = random.Random(18)
    walk = draw.sample(list(truth), len(truth))
    odd = next((name for name in ("saved_and_tied", "saved_embeddings", "all") if name in truth), None)
    walk = ["plain", odd, "plain", odd, odd, *walk]
    for before, name in zip([None, *walk], walk, strict=False):
        expected, where = truth[name], f"{name} after {before}"
        if expected is None:
            assert refusal(lm, adapters[name]) == said[name], where
            continue
        lm.use_adapter(adapters[name] if name else None)
        (found,) = lm.label_logprobs([TEXT])
        assert max(abs(one - other) for one, other in zip(found, expected, strict=True)) < 1e-5, where


def test_the_base_is_blamed_only_where_a_module_or_a_shape_differs(zoo: Zoo) -> None:
    base, adapters = zoo
    lm = engine(base)
    assert "trained on" not in refusal(lm, adapters["broken"])
    wide = refusal(lm, adapters["wide"])
    assert f"trained on {adapters['wide'].base}" in wide and "64" in wide


def test_plain_adapters_take_each_other_s_place_without_loading_the_base(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, adapters = zoo
    lm, loads = engine(base), []
    load: Callable[[], None] = lm._load_base
    monkeypatch.setattr(lm, "_load_base", lambda: (loads.append(lm.peft), load()))
    for adapter in (adapters["plain"], adapters.get("other_plain"), None, adapters["plain"]):
        lm.use_adapter(adapter)
    assert loads == []
    other = next(name for name in adapters if name in ("token_rows", "ups"))
    for name in (other, "plain", "plain"):
        lm.use_adapter(adapters[name])
    assert len(loads) == 1


def test_a_model_given_as_an_object_takes_plain_adapters_only(zoo: Zoo) -> None:
    base, adapters = zoo
    model = tf.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    lm = FinHF(pretrained=model, tokenizer=str(base), device="cpu")
    other = adapters[next(name for name in adapters if name in ("token_rows", "ups"))]
    first = refusal(lm, other)
    lm.use_adapter(adapters["plain"])
    assert refusal(lm, other) == first and "pretrained=" in first
    lm.use_adapter(None)
    assert lm.label_logprobs([TEXT])[0] == pytest.approx(alone(base, None), abs=1e-5)
