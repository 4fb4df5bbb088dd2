"""Other architectures in `fin_hf`: trees if they give the same numbers, otherwise lm-eval's own code."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from lm_eval.models.huggingface import HFLM

from fin_plugins.scoring.fin_hf import FinHF
from fin_plugins.scoring.tree_equivalence import exact_length
from tests.scoring.factories import SIZES, VOCABULARY, close, instances, save_tiny

STEM = "What happened to gold? "
TEXTS = [STEM, STEM + "It rose and fell.", STEM + "Nothing at all happened to it, it rose and fell and rose.", "Gold:"]
PAIRS = [(text, label) for text in TEXTS for label in (" up", " down", " do", " unchanged")]

LARGE = {"initializer_range": 0.4, "vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
MAMBA = {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}
OPT = {"hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "word_embed_proj_dim": 32}
GEMMA = {**SIZES, "num_key_value_heads": 2, "head_dim": 8}


def make(tiny_models: dict[str, Path], folder: Path, name: str, **settings: Any) -> Path:
    """A random checkpoint of an architecture, with a tokenizer."""
    config = getattr(tf, f"{name}Config")(**{**LARGE, **settings})
    model = tf.AutoModelForCausalLM._model_mapping[type(config)]
    return save_tiny(folder, tiny_models["base"], model, config)


def both(folder: Path, **settings: Any) -> tuple[FinHF, HFLM]:
    arguments = {"pretrained": str(folder), "device": "cpu", "batch_size": 3, **settings}
    return FinHF(**arguments), HFLM(**arguments)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("GPT2", GPT2),  # learned positions
        ("GPTNeoX", SIZES),  # parallel attention
        ("OPT", OPT),  # positions with an offset
        ("Qwen2", {**SIZES, "num_key_value_heads": 2}),
        ("Gemma2", {**GEMMA, "sliding_window": 200}),  # cut logits, layers with and without a window
        ("Gemma3Text", {**GEMMA, "sliding_window": 200}),
        ("Phi3", {**SIZES, "num_key_value_heads": 2, "pad_token_id": 0}),
        ("Mixtral", {**SIZES, "num_key_value_heads": 2, "num_local_experts": 3}),
    ],
)
def test_architectures_with_trees(name: str, settings: dict, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    ours, stock = both(make(tiny_models, tmp_path, name, **settings))
    requests = instances(PAIRS)
    assert ours.tree_incompatibility() == ""
    assert close(ours.loglikelihood(requests), stock.loglikelihood(requests))
    assert not ours.fallback_reasons


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Mamba", MAMBA),  # recurrent: no KV cache, no mask
        ("Bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4}),  # ALiBi: positions out of the mask
    ],
)
def test_architectures_without_trees(
    name: str, settings: dict, tiny_models: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours, stock = both(make(tiny_models, tmp_path, name, **settings))
    requests = instances(PAIRS)
    with caplog.at_level(logging.WARNING, "fin_plugins"):
        first = ours.loglikelihood(requests)
        assert ours.loglikelihood(requests) == first
    assert close(first, stock.loglikelihood(requests))
    (message,) = [record.getMessage() for record in caplog.records if "fin_hf" in record.getMessage()]
    assert f"{len(PAIRS)} requests" in message
    assert "tree mask" in message


def test_only_texts_longer_than_the_window_fall_back(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    settings = {**SIZES, "num_key_value_heads": 2, "sliding_window": 40, "max_position_embeddings": 256}
    ours, stock = both(make(tiny_models, tmp_path, "Mistral", **settings))
    requests = instances(PAIRS)
    assert close(ours.loglikelihood(requests), stock.loglikelihood(requests))
    assert ours.fallback_reasons == {"longer than 40 tokens, where this model's attention changes"}
    assert ours.tree_incompatibility() == ""


def test_a_window_shorter_than_the_test_documents(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    settings = {**SIZES, "num_key_value_heads": 2, "sliding_window": 8, "max_position_embeddings": 256}
    ours, stock = both(make(tiny_models, tmp_path, "Mistral", **settings))
    requests = instances([*PAIRS, ("Up:", " a"), ("Up:", " b")])
    assert close(ours.loglikelihood(requests), stock.loglikelihood(requests))


def test_rotary_embeddings_that_change_with_the_length(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    settings = {**SIZES, "max_position_embeddings": 48, "rope_parameters": rope, "initializer_range": 0.4}
    ours, stock = both(make(tiny_models, tmp_path, "Llama", **settings), max_length=200, batch_size=1)
    requests, alone = instances(PAIRS), []
    for request in requests:
        stock.loglikelihood(instances([("Up", " or")]))  # transformers keeps a longer text's angles until a short one
        alone += stock.loglikelihood([request])
    assert close(ours.loglikelihood(requests), alone)
    assert ours.fallback_reasons == {"longer than 48 tokens, where this model's attention changes"}


ROPE = {
    "Phi3": {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [4.0, 8.0, 16.0, 32.0],
        "original_max_position_embeddings": 48,
    },
    "Llama": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0},
}


@pytest.mark.parametrize("name", ROPE)
def test_a_longer_neighbour_in_the_batch_does_not_change_angles(
    name: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    """Texts longer and shorter than 48 tokens; lm-eval pads them to one length and uses its angles for all."""
    extended = {"max_position_embeddings": 256, "original_max_position_embeddings": 48, "pad_token_id": 0}
    settings = extended if name == "Phi3" else {"max_position_embeddings": 48}
    folder = make(tiny_models, tmp_path, name, **SIZES, **settings, rope_parameters=ROPE[name])
    text = "What happened to gold? It rose and fell, and rose again, and then nothing happened to it at all for a year."
    contexts = [text[:length] for length in (20, 40, 45, 46, 47, 50, 70, 100)]
    pairs = [(context, label) for context in contexts for label in (" up", " down")]
    arguments = {"pretrained": str(folder), "device": "cpu", "max_length": 200}
    batched = FinHF(**arguments, batch_size=8)
    batched_scores = batched.loglikelihood(instances(pairs))
    single = [FinHF(**arguments, batch_size=1) for _ in contexts]  # fresh: `dynamic` remembers the longest text
    expected = [
        score
        for context, lm in zip(contexts, single, strict=True)
        for score in lm.loglikelihood(instances([pair for pair in pairs if pair[0] == context]))
    ]
    assert close(batched_scores, expected)
    plain = [HFLM(**arguments, batch_size=1).loglikelihood(instances([pair]))[0] for pair in (pairs[0], pairs[-1])]
    assert close([batched_scores[0], batched_scores[-1]], plain)
    prompts = instances([(context, {"until": ["\n"], "max_gen_toks": 6}) for context in contexts], "generate_until")
    replies = [lm.generate_until([prompt])[0] for lm, prompt in zip(single, prompts, strict=True)]
    assert batched.generate_until(prompts) == replies


def test_exact_length() -> None:
    longrope = {"rope_type": "longrope", "original_max_position_embeddings": 4096}
    by_layer = {"full_attention": {"rope_type": "dynamic"}, "sliding_attention": {"rope_type": "default"}}
    config = tf.LlamaConfig(max_position_embeddings=512)
    assert exact_length(config) is None
    assert exact_length(tf.MistralConfig(sliding_window=64)) == 64
    config.rope_parameters = longrope
    assert exact_length(config) == 4096
    config.rope_parameters = by_layer
    assert exact_length(config) == 512
    config.attention_chunk_size = 128
    assert exact_length(config) == 128
    mixed = tf.LlamaConfig(num_hidden_layers=3, sliding_window=None, per_layer_config={1: {"sliding_window": 32}})
    assert exact_length(mixed) == 32


def test_encoder_decoder(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    config = tf.T5Config(
        vocab_size=VOCABULARY, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0
    )
    folder = save_tiny(tmp_path, tiny_models["base"], tf.T5ForConditionalGeneration, config)
    ours, stock = both(folder, max_length=50)
    requests = instances(PAIRS)
    assert ours.loglikelihood(requests) == stock.loglikelihood(requests)
    assert [len(ours.tok_encode(text)) > 50 for text in TEXTS] == [False, False, True, False]
    assert ours.truncated == {"task": 1}
    (reason,) = ours.fallback_reasons
    assert "encoder-decoder" in reason


def test_mixed_precision(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    ours, stock = both(make(tiny_models, tmp_path, "Llama", **SIZES), mixed_precision_dtype="bfloat16")
    requests = instances(PAIRS)
    assert ours.tree_incompatibility() == ""
    found, expected = ours.loglikelihood(requests), stock.loglikelihood(requests)
    assert all(abs(a - b) < 0.5 for (a, _), (b, _) in zip(found, expected, strict=True))


def test_an_ignored_mask_is_noticed(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    """A model that builds its own mask: every token sees all before it, other labels' nodes too."""
    ours, stock = both(make(tiny_models, tmp_path, "Llama", **SIZES))

    def causal(_: object, arguments: tuple, inputs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        return arguments, {**inputs, "attention_mask": None}

    handle = ours.model.register_forward_pre_hook(causal, with_kwargs=True)
    requests = instances(PAIRS)
    try:
        assert close(ours.loglikelihood(requests), stock.loglikelihood(requests))
    finally:
        handle.remove()
    (reason,) = ours.fallback_reasons
    assert "off by" in reason


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_on_a_gpu(dtype: str, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    ours, stock = both(make(tiny_models, tmp_path, "Llama", **SIZES), device="cuda", dtype=dtype)
    requests = instances(PAIRS)
    found, expected = ours.loglikelihood(requests), stock.loglikelihood(requests)
    tolerance = 1e-3 if dtype == "float32" else 0.5
    assert all(abs(a - b) < tolerance for (a, _), (b, _) in zip(found, expected, strict=True))
    assert not ours.fallback_reasons
