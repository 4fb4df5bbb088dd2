"""Adapters on one `fin_hf`: always the answers that PEFT and stock `hf` give alone, in any order."""

import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from lm_eval.models.huggingface import HFLM
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch.profiler import ProfilerActivity, profile
from transformers import LlamaConfig, LlamaForCausalLM, set_seed

from fin_plugins.common.errors import FinError
from fin_plugins.compat.lm_eval.hf import HookedHF
from fin_plugins.scoring.adapters import WEIGHTS, Adapter, read_adapter
from fin_plugins.scoring.fin_hf import FinHF
from tests.evaluation.factories import change_settings
from tests.scoring.factories import SIZES, VOCABULARY, close, instances, save_tiny

PAIRS = [
    (text, label)
    for text in ("What happened to gold? It rose.", "Gold:")
    for label in (" up", " down", " u", " unchanged")
]
ADAPTERS: dict[str, dict[str, Any]] = {
    "attention": {"target_modules": ["q_proj", "v_proj"], "r": 4},
    "mlp": {"target_modules": ["down_proj", "q_proj"], "r": 8, "use_rslora": True},
    "dora.v1": {"target_modules": ["q_proj"], "r": 2, "use_dora": True},
    "head": {"target_modules": ["k_proj"], "r": 2, "modules_to_save": ["norm"]},
}


@pytest.fixture(scope="module")
def base(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = LlamaConfig(**SIZES, num_key_value_heads=2, vocab_size=VOCABULARY, initializer_range=0.4)
    return save_tiny(tmp_path_factory.mktemp("base"), tiny_models["base"], LlamaForCausalLM, config)


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Adapter]:
    return {
        name: save_adapter(tmp_path_factory.mktemp("adapter"), base, name, **kind) for name, kind in ADAPTERS.items()
    }


def save_adapter(folder: Path, base: Path, name: str, **settings: Any) -> Adapter:
    set_seed(len(name))
    model = get_peft_model(LlamaForCausalLM.from_pretrained(base), LoraConfig(init_lora_weights=False, **settings))
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data += 0.2
    model.save_pretrained(folder)
    return read_adapter(name, folder)


def scores(model: HFLM) -> list[tuple[float, bool]]:
    return model.loglikelihood(instances(PAIRS), disable_tqdm=True)


def stock(base: Path, adapter: Adapter | None) -> HFLM:
    peft = {"peft": str(adapter.path)} if adapter else {}
    return HFLM(pretrained=str(base), device="cpu", batch_size=3, **peft)


def test_switching_between_adapters_and_base(base: Path, adapters: dict[str, Adapter]) -> None:
    models = {None: stock(base, None)} | {name: stock(base, adapter) for name, adapter in adapters.items()}
    expected_scores = {name: scores(model) for name, model in models.items()}
    sizes = {name: model.get_model_info()["model_num_parameters"] for name, model in models.items()}
    for name in adapters:
        assert not close(expected_scores[name], expected_scores[None], 0.05)

    ours = FinHF(pretrained=str(base), device="cpu", batch_size=3, adapter_name="ignored")
    untouched = scores(ours)
    dropped = (VOCABULARY - len(ours.tokenizer)) * SIZES["hidden_size"] * 2
    for name in (None, "attention", "mlp", None, "head", "head", "dora.v1", None, "attention"):
        ours.use_adapter(adapters[name] if name else None)
        assert close(scores(ours), expected_scores[name]), name
        info = ours.get_model_info()
        assert info["model_num_parameters"] - (dropped if name else 0) == sizes[name]
        assert ("peft_sha" in info) == (name is not None)
        if name is None:
            assert scores(ours) == untouched  # to the last bit
    assert ours.tree_incompatibility() == ""


def test_the_adapter_also_answers_rolling_generation_and_logprobs(base: Path, adapters: dict[str, Adapter]) -> None:
    ours, theirs = FinHF(pretrained=str(base), device="cpu"), stock(base, adapters["mlp"])
    ours.use_adapter(adapters["mlp"])
    windows = instances([("a text without labels",)], "loglikelihood_rolling")
    (score,) = ours.loglikelihood_rolling(windows)
    assert score == pytest.approx(theirs.loglikelihood_rolling(windows)[0], abs=1e-4)
    text = [ours.prefix_token_id, *ours.tok_encode("a text without labels")]
    assert sum(ours.label_logprobs([text])[0]) == pytest.approx(score, abs=1e-3)
    prompts = instances([("Gold", {"until": ["\n"], "max_gen_toks": 6})], "generate_until")
    assert ours.generate_until(prompts) == theirs.generate_until(prompts)


def test_a_model_started_with_an_adapter(base: Path, adapters: dict[str, Adapter]) -> None:
    ours = FinHF(pretrained=str(base), device="cpu", batch_size=3, peft=str(adapters["mlp"].path), adapter_name="mlp")
    assert close(scores(ours), scores(stock(base, adapters["mlp"])))
    ours.use_adapter(adapters["attention"])
    assert close(scores(ours), scores(stock(base, adapters["attention"])))


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_adapters_have_the_data_type_of_the_base(base: Path, adapters: dict[str, Adapter], dtype: str) -> None:
    arguments = {"pretrained": str(base), "device": "cpu", "batch_size": 3, "dtype": dtype}
    ours, with_peft = FinHF(**arguments), FinHF(**arguments, peft=str(adapters["mlp"].path))
    for name in ("attention", "mlp"):  # attached to the bare base, and replacing another adapter
        ours.use_adapter(adapters[name])
        assert {str(weight.dtype) for weight in ours.model.parameters()} == {f"torch.{dtype}"}
    assert scores(ours) == scores(with_peft)


def test_head_weights_are_not_copied_for_each_document(base: Path, adapters: dict[str, Adapter]) -> None:
    ours = FinHF(pretrained=str(base), device="cpu", batch_size=8)
    ours.use_adapter(adapters["mlp"])
    head = ours.model.get_output_embeddings()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        scores(ours)
    shapes = [shape for event in profiler.events() if event.name == "aten::bmm" for shape in event.input_shapes]
    assert not [shape for shape in shapes if shape[0] > 1 and shape[1:] == [*head.weight.T.shape]]


def test_an_adapter_of_another_base_is_rejected(base: Path, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    other = LlamaConfig(**{**SIZES, "hidden_size": 64}, num_key_value_heads=2, vocab_size=VOCABULARY)
    big = save_tiny(tmp_path / "big", tiny_models["base"], LlamaForCausalLM, other)
    adapter = replace(save_adapter(tmp_path / "adapter", big, "big", **ADAPTERS["attention"]), base="some/other-model")
    ours = FinHF(pretrained=str(base), device="cpu")
    with pytest.raises(FinError, match=r"adapter big .*some/other-model.*pretrained="):
        ours.use_adapter(adapter)


TOKENIZER_SIZE = 258
TEXT = [*range(3, 40), 100, 5, 200, 5]
QV = ["q_proj", "v_proj"]
ADAPTER_KINDS: dict[str, dict[str, Any]] = {
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
BaseAndAdapters = tuple[Path, dict[str, Adapter]]


@pytest.fixture(scope="module", params=["tied", "untied", "experts"])
def base_and_adapters(
    request: pytest.FixtureRequest, tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> BaseAndAdapters:
    """A base and one adapter of every kind, and two that are rejected."""
    root = tmp_path_factory.mktemp(request.param)
    common = {**SIZES, "vocab_size": TOKENIZER_SIZE, "num_key_value_heads": 2, "initializer_range": 0.2}
    kinds = {**ADAPTER_KINDS, **(TIED if request.param == "tied" else {})}
    model, config = tf.LlamaForCausalLM, tf.LlamaConfig(**common, tie_word_embeddings=request.param == "tied")
    if request.param == "experts":
        experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8}
        kinds, model, config = EXPERTS, tf.Qwen3MoeForCausalLM, tf.Qwen3MoeConfig(**common, **experts)
    base = save_tiny(root / "base", tiny_models["base"], model, config)
    adapters = {name: save_random_adapter(root / name, base, **kind) for name, kind in kinds.items()}
    if "lora_on_head" in adapters:
        adapters["lora_on_head_stripped"] = without_base_layers(adapters["lora_on_head"], root / "stripped")
    broken = change_settings(shutil.copytree(adapters["plain"].path, root / "broken"), target_modules=["nowhere"])
    wide = save_tiny(root / "wide", tiny_models["base"], tf.LlamaForCausalLM, tf.LlamaConfig(**common | WIDE))
    return base, adapters | {
        "broken": read_adapter("broken", broken),
        "wide": save_random_adapter(root / "w", wide, **ADAPTER_KINDS["plain"]),
    }


WIDE = {"hidden_size": 64}


def save_random_adapter(folder: Path, base: Path, r: int = 4, **settings: Any) -> Adapter:
    torch.manual_seed(len(folder.name))
    model = tf.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=r, **settings))
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data += torch.randn_like(weight) * 0.1
    model.save_pretrained(folder)
    return read_adapter(folder.name, folder)


def without_base_layers(adapter: Adapter, folder: Path) -> Adapter:
    """The same without the base's own weights that PEFT saves beside LoRA on embeddings, as other tools save it."""
    shutil.copytree(adapter.path, folder)
    tensors = {name: tensor for name, tensor in load_file(folder / WEIGHTS).items() if "base_layer" not in name}
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    return read_adapter("lora_on_head_stripped", folder)


def peft_logprobs(base: Path, adapter: Adapter | None) -> list[float] | None:
    """PEFT's answers on a freshly loaded base; None if it rejects the adapter."""
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


def test_any_adapter_after_any_other_answers_as_peft_alone(base_and_adapters: BaseAndAdapters) -> None:
    base, adapters = base_and_adapters
    expected = {name: peft_logprobs(base, adapters[name] if name else None) for name in (None, *adapters)}
    assert [name for name, answers in expected.items() if answers is None] == ["broken", "wide"]
    lm, refusals = engine(base), {name: refusal(engine(base), adapters[name]) for name in ("broken", "wide")}
    rng = random.Random(18)
    sequence = rng.sample(list(expected), len(expected))
    special = next((name for name in ("saved_and_tied", "saved_embeddings", "all") if name in expected), None)
    sequence = ["plain", special, "plain", special, special, *sequence]
    for before, name in zip([None, *sequence], sequence, strict=False):
        logprobs, order = expected[name], f"{name} after {before}"
        if logprobs is None:
            assert refusal(lm, adapters[name]) == refusals[name], order
            continue
        lm.use_adapter(adapters[name] if name else None)
        (answers,) = lm.label_logprobs([TEXT])
        assert max(abs(a - b) for a, b in zip(answers, logprobs, strict=True)) < 1e-5, order


def test_the_base_is_blamed_only_if_a_module_or_shape_differs(base_and_adapters: BaseAndAdapters) -> None:
    base, adapters = base_and_adapters
    lm = engine(base)
    assert "trained on" not in refusal(lm, adapters["broken"])
    wide = refusal(lm, adapters["wide"])
    assert f"trained on {adapters['wide'].base}" in wide and "64" in wide


def test_plain_adapters_replace_each_other_without_reloading_the_base(
    base_and_adapters: BaseAndAdapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, adapters = base_and_adapters
    lm, loads = engine(base), []
    load_model = HookedHF.load_model

    def record_and_load(self: HookedHF, *arguments: Any, **settings: Any) -> None:
        loads.append(self)
        load_model(self, *arguments, **settings)

    monkeypatch.setattr(HookedHF, "load_model", record_and_load)
    for adapter in (adapters["plain"], adapters.get("other_plain"), None, adapters["plain"]):
        lm.use_adapter(adapter)
    assert loads == []
    other = next(name for name in adapters if name in ("token_rows", "ups"))
    for name in (other, "plain", "plain"):
        lm.use_adapter(adapters[name])
    assert len(loads) == 1


def test_a_model_given_as_an_object_takes_plain_adapters_only(base_and_adapters: BaseAndAdapters) -> None:
    base, adapters = base_and_adapters
    model = tf.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    lm = FinHF(pretrained=model, tokenizer=str(base), device="cpu")
    other = adapters[next(name for name in adapters if name in ("token_rows", "ups"))]
    first = refusal(lm, other)
    lm.use_adapter(adapters["plain"])
    assert refusal(lm, other) == first and "pretrained=" in first
    lm.use_adapter(None)
    assert lm.label_logprobs([TEXT])[0] == pytest.approx(peft_logprobs(base, None), abs=1e-5)
