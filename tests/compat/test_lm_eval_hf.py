"""Assumptions of `compat/lm_eval/hf` and `compat/transformers`, checked on a tiny model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.models.huggingface import HFLM

from fin_plugins.compat.lm_eval.hf import HookedHF
from fin_plugins.compat.lm_eval.models import score_tokens
from fin_plugins.compat.transformers import attention_of, cached_layer
from tests.scoring.factories import instances


class RecordingHF(HookedHF):
    """Records the calls of the hooks."""

    scored: list[Any]
    loaded: list[dict[str, Any]]

    def score_tokens(self, requests: Any, disable_tqdm: bool = False, override_bs: int | None = None) -> Any:
        self.scored = [*getattr(self, "scored", []), *requests]
        return super().score_tokens(requests, disable_tqdm, override_bs)

    def load_model(self, *arguments: Any, **settings: Any) -> None:
        assert not arguments, "the model is loaded by keyword arguments only, so that they can be used to load it again"
        self.loaded = [*getattr(self, "loaded", []), settings]
        super().load_model(**settings)


@pytest.fixture(scope="module")
def lm(tiny_models: dict[str, Path]) -> RecordingHF:
    return RecordingHF(pretrained=str(tiny_models["base"]), dtype="float32", device="cpu")


def test_a_model_is_loaded_once_by_a_method_that_can_load_it_again(lm: RecordingHF) -> None:
    assert len(lm.loaded) == 1 and {"pretrained", "dtype", "peft"} <= set(lm.loaded[0])
    before = lm.loaded_model
    lm.load_model(**lm.loaded[0])
    assert lm.loaded_model is not before and lm.model is lm.loaded_model
    lm.loaded_model.eval()


def test_all_token_scoring_goes_through_one_method_and_rolling_windows_have_no_key(
    lm: RecordingHF, tiny_models: Any
) -> None:
    stock = HFLM(pretrained=str(tiny_models["base"]), dtype="float32", device="cpu")
    pairs = instances([("a b", " c"), ("a b", " dd")])
    lm.scored = []
    assert lm.loglikelihood(pairs, disable_tqdm=True) == stock.loglikelihood(pairs, disable_tqdm=True)
    assert [key for key, _, _ in lm.scored] == [("a b", " c"), ("a b", " dd")]
    lm.scored = []
    lm.loglikelihood_rolling(instances([("a b c",)], "loglikelihood_rolling"), disable_tqdm=True)
    assert lm.scored and all(key is None for key, _, _ in lm.scored)
    requests = [(("a", "b"), [5, 6], [7])]
    assert score_tokens(lm, requests, silent=True) == score_tokens(stock, requests, silent=True)


def test_logits_are_those_of_the_model_without_gradients(lm: RecordingHF) -> None:
    tokens = torch.tensor([[5, 6, 7]])
    logits = lm.logits(tokens)
    assert logits.shape == (1, 3, lm.loaded_model.config.vocab_size) and not logits.requires_grad
    with torch.no_grad():
        assert torch.equal(logits, lm.loaded_model(tokens).logits)


def test_the_class_has_the_public_names_that_scoring_uses(lm: RecordingHF) -> None:
    names = ("batch_size", "batch_size_per_gpu", "max_batch_size", "device", "rank", "world_size", "max_length")
    names += ("backend", "softmax_dtype", "mixed_precision_dtype", "logits_cache", "cache_hook", "tokenizer")
    names += ("prefix_token_id", "eot_token_id", "add_bos_token", "truncation", "max_gen_toks", "peft")
    names += ("enable_thinking", "think_end_token")
    assert [name for name in names if not hasattr(lm, name)] == []


def test_a_cache_keeps_keys_and_values_of_each_layer(lm: RecordingHF) -> None:
    from transformers import DynamicCache

    model, cache = lm.loaded_model, DynamicCache()
    with torch.no_grad():
        model(torch.tensor([[5, 6, 7]]), past_key_values=cache, use_cache=True)
    for layer in range(model.config.num_hidden_layers):
        keys, values = cached_layer(cache, layer)
        assert keys.shape == values.shape and keys.shape[0] == 1 and keys.shape[2] == 3
    cache.crop(-1)
    assert cached_layer(cache, 0)[0].shape[2] == 2, "a negative number crops that many tokens from the end"


def test_a_loaded_model_reports_its_attention_implementation(lm: RecordingHF, tiny_models: dict[str, Path]) -> None:
    from transformers import AutoModelForCausalLM

    assert attention_of(lm.loaded_model.config) == attention_of(lm.loaded_model.config.get_text_config()) == "sdpa"
    eager = AutoModelForCausalLM.from_pretrained(tiny_models["base"], attn_implementation="eager")
    assert attention_of(eager.config) == "eager"


def test_forward_computes_logits_only_at_selected_positions(lm: RecordingHF) -> None:
    tokens = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        logits = lm.loaded_model(tokens).logits
        assert torch.allclose(lm.loaded_model(tokens, logits_to_keep=1).logits, logits[:, -1:])
        assert torch.allclose(lm.loaded_model(tokens, logits_to_keep=torch.tensor([0, 2])).logits, logits[:, [0, 2]])
