"""Adapters on one `fin_hf`, against a stock `hf` started for each: the very same numbers, in whatever order."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lm_eval.models.huggingface import HFLM
from peft import LoraConfig, get_peft_model
from torch.profiler import ProfilerActivity, profile
from transformers import LlamaConfig, LlamaForCausalLM, set_seed

from fin_plugins.common.errors import FinError
from fin_plugins.scoring.adapters import Adapter, read_adapter
from fin_plugins.scoring.hf import FinHF
from tests.scoring.tiny import SIZES, close, instances, save_tiny

VOCABULARY = (
    320  # of the model; the tokenizer has fewer tokens, and lm-eval then cuts the model's when it loads an adapter
)
PAIRS = [
    (text, label)
    for text in ("What happened to gold? It rose.", "Gold:")
    for label in (" up", " down", " u", " unchanged")
]
KINDS: dict[str, dict[str, Any]] = {
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
    return {name: save_adapter(tmp_path_factory.mktemp("adapter"), base, name, **kind) for name, kind in KINDS.items()}


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


def test_switching_between_adapters_and_the_base(base: Path, adapters: dict[str, Adapter]) -> None:
    expected = {None: stock(base, None)} | {name: stock(base, adapter) for name, adapter in adapters.items()}
    theirs = {name: scores(model) for name, model in expected.items()}
    sizes = {name: model.get_model_info()["model_num_parameters"] for name, model in expected.items()}
    for name in adapters:
        assert not close(theirs[name], theirs[None], 0.05)

    ours = FinHF(pretrained=str(base), device="cpu", batch_size=3, adapter_name="ignored")
    untouched = scores(ours)
    cut = (VOCABULARY - len(ours.tokenizer)) * SIZES["hidden_size"] * 2
    for name in (None, "attention", "mlp", None, "head", "head", "dora.v1", None, "attention"):
        ours.use_adapter(adapters[name] if name else None)
        assert close(scores(ours), theirs[name]), name
        info = ours.get_model_info()
        assert info["model_num_parameters"] - (cut if name else 0) == sizes[name]
        assert ("peft_sha" in info) == (name is not None)
        if name is None:
            assert scores(ours) == untouched  # to the last bit
    assert ours._unfit() == ""


def test_probe_and_lm_evals_own_path_are_answered_with_the_adapter(base: Path, adapters: dict[str, Adapter]) -> None:
    ours, theirs = FinHF(pretrained=str(base), device="cpu"), stock(base, adapters["mlp"])
    ours.use_adapter(adapters["mlp"])
    windows = instances([("a text without labels",)], "loglikelihood_rolling")
    (whole,) = ours.loglikelihood_rolling(windows)
    assert whole == pytest.approx(theirs.loglikelihood_rolling(windows)[0], abs=1e-4)
    text = [ours.prefix_token_id, *ours.tok_encode("a text without labels")]
    assert sum(ours.label_logprobs([text])[0]) == pytest.approx(whole, abs=1e-3)
    asked = instances([("Gold", {"until": ["\n"], "max_gen_toks": 6})], "generate_until")
    assert ours.generate_until(asked) == theirs.generate_until(asked)


def test_a_model_started_with_an_adapter(base: Path, adapters: dict[str, Adapter]) -> None:
    ours = FinHF(pretrained=str(base), device="cpu", batch_size=3, peft=str(adapters["mlp"].path), adapter_name="mlp")
    assert close(scores(ours), scores(stock(base, adapters["mlp"])))
    ours.use_adapter(adapters["attention"])
    assert close(scores(ours), scores(stock(base, adapters["attention"])))


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_adapters_are_computed_in_the_dtype_of_the_base(base: Path, adapters: dict[str, Adapter], dtype: str) -> None:
    given = {"pretrained": str(base), "device": "cpu", "batch_size": 3, "dtype": dtype}
    ours, started = FinHF(**given), FinHF(**given, peft=str(adapters["mlp"].path))
    for name in ("attention", "mlp"):  # put on the bare base, and in the place of another adapter
        ours.use_adapter(adapters[name])
        assert {str(weight.dtype) for weight in ours.model.parameters()} == {f"torch.{dtype}"}
    assert scores(ours) == scores(started)


def test_the_head_s_weights_are_not_copied_for_each_document(base: Path, adapters: dict[str, Adapter]) -> None:
    ours = FinHF(pretrained=str(base), device="cpu", batch_size=8)
    ours.use_adapter(adapters["mlp"])
    head = ours.model.get_output_embeddings()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
        scores(ours)
    shapes = [shape for event in seen.events() if event.name == "aten::bmm" for shape in event.input_shapes]
    assert not [shape for shape in shapes if shape[0] > 1 and shape[1:] == [*head.weight.T.shape]]


def test_an_adapter_of_another_base_is_refused(base: Path, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    other = LlamaConfig(**{**SIZES, "hidden_size": 64}, num_key_value_heads=2, vocab_size=VOCABULARY)
    big = save_tiny(tmp_path / "big", tiny_models["base"], LlamaForCausalLM, other)
    adapter = replace(save_adapter(tmp_path / "adapter", big, "big", **KINDS["attention"]), base="some/other-model")
    ours = FinHF(pretrained=str(base), device="cpu")
    with pytest.raises(FinError, match=r"adapter big .*some/other-model.*pretrained="):
        ours.use_adapter(adapter)
