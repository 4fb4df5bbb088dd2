"""`fin_hf`'s greedy replies against lm-eval's own, prompt by prompt: the same text from fewer passes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.model import CachingLM
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from fin_plugins.scoring.adapters import read_adapter
from fin_plugins.scoring.fin_hf import FinHF
from fin_plugins.scoring.hf_generative_lm import is_greedy_request, non_greedy_settings
from tests.scoring.factories import SIZES, close, instances, tiny_adapter
from tests.scoring.test_tree_equivalence import GEMMA, GPT2, make

STEM = "What happened to the gold price? Answer up, down or unchanged. " * 2
TEXTS = [STEM, STEM + "It rose.", STEM + "It fell, rose, fell again, and closed where it began.", "Gold:", "x", "x y "]
PAIRS = [(text, label) for text in TEXTS for label in (" up", " down", " unchanged")]
LLAMA = {**SIZES, "num_key_value_heads": 2}


def prompts(texts: list[str] = TEXTS, **settings: Any) -> list:
    limits = {"until": ["\n"], "max_gen_toks": 9, "do_sample": False, "temperature": 0.0, **settings}
    return instances([(text, limits) for text in texts], "generate_until")


def ours_and_stock(folder: Path, **settings: Any) -> tuple[FinHF, HFLM]:
    """lm-eval with one prompt per batch: in larger batches it generates until all prompts have stopped."""
    arguments = {"pretrained": str(folder), "device": "cpu", **settings}
    return FinHF(**{"batch_size": 4, **arguments}), HFLM(**{**arguments, "batch_size": 1})


def replies(model: HFLM, requests: list) -> list[str]:
    return model.generate_until(requests, disable_tqdm=True)


def letters(text: str) -> list[str]:
    """The characters of a random reply that are a single token."""
    return [letter for letter in text if letter.isascii()]


@pytest.fixture(scope="module")
def folder(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tiny_models, tmp_path_factory.mktemp("tiny"), "Llama", **LLAMA)


@pytest.fixture(scope="module")
def models(folder: Path) -> tuple[FinHF, HFLM]:
    return ours_and_stock(folder)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Llama", LLAMA),
        ("Qwen2", LLAMA),
        ("Qwen3", {**LLAMA, "head_dim": 8}),
        ("GPT2", GPT2),
        ("GPTNeoX", SIZES),
        ("Gemma2", {**GEMMA, "sliding_window": 200}),
        ("Gemma3Text", {**GEMMA, "sliding_window": 200}),
        ("Phi3", {**LLAMA, "pad_token_id": 0}),
    ],
)
def test_replies_alone_and_after_labels(
    name: str, settings: dict, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    ours, stock = ours_and_stock(make(tiny_models, tmp_path, name, **settings))
    expected = replies(stock, prompts())
    assert len(set(expected)) > 2
    assert replies(ours, prompts()) == expected
    labels = instances(PAIRS)
    alone = ours.loglikelihood(labels, disable_tqdm=True)
    ours.expect_replies(prompts())
    assert close(ours.loglikelihood(labels, disable_tqdm=True), alone, 1e-5)
    assert replies(ours, prompts()) == expected
    assert not ours.fallback_reasons


@pytest.mark.parametrize("size", [1, 2, 8, "auto"])
def test_every_reply_ends_at_its_own_stop(size: int | str, folder: Path, models: tuple[FinHF, HFLM]) -> None:
    _, stock = models
    whole = replies(stock, prompts(until=[]))
    stops = [whole[1][:2], letters(whole[2])[0], letters(whole[3])[1]]  # of several tokens, at once, in the midst
    ours = FinHF(pretrained=str(folder), device="cpu", batch_size=size)
    found = replies(ours, prompts(until=stops))
    assert found == replies(stock, prompts(until=stops))
    assert len({len(text) for text in found}) > 2
    assert replies(ours, prompts(until=stops[0])) == replies(stock, prompts(until=stops[0]))
    assert replies(ours, prompts(max_gen_toks=1)) == replies(stock, prompts(max_gen_toks=1))
    assert not ours.fallback_reasons


def test_several_end_tokens(folder: Path, models: tuple[FinHF, HFLM]) -> None:
    ours, stock = ours_and_stock(folder)
    whole = replies(models[1], prompts(until=[]))
    ends = ours.tok_encode(letters(whole[2])[0] + letters(whole[3])[1], add_special_tokens=False)
    for model in (ours, stock):
        model.model.generation_config.eos_token_id = [2, *ends]
    found = replies(ours, prompts())
    assert found == replies(stock, prompts())
    assert found != replies(models[1], prompts())


def test_labels_and_replies_from_one_pass(folder: Path) -> None:
    ours, stock = ours_and_stock(folder)
    texts = [STEM + end for end in ("a", "b", "c", "d")]
    expected = replies(stock, prompts(texts, until=[]))
    requests = prompts(texts, until=[expected[0][1]])
    assert ours.tree_incompatibility() == ours.reply_incompatibility() == ""
    shapes: list[tuple[int, int]] = []
    handle = ours.model.register_forward_pre_hook(
        lambda _, __, inputs: shapes.append(tuple(inputs["input_ids"].shape)), with_kwargs=True
    )
    ours.expect_replies(requests)
    ours.loglikelihood(instances([(text, " u") for text in texts]), disable_tqdm=True)
    labels, steps = shapes[:2], shapes[2:]
    assert [rows for rows, _ in labels] == [1, 4]
    assert steps and all(columns == 1 for _, columns in steps)
    assert [rows for rows, _ in steps] == sorted((rows for rows, _ in steps), reverse=True)
    assert steps[-1][0] < 4  # finished replies are dropped
    assert ours.has_replies(requests)
    shapes.clear()
    assert replies(ours, requests) == replies(stock, requests)
    handle.remove()
    assert not shapes
    assert not ours.has_replies(requests)  # handed out once
    ours.loglikelihood(instances([(text, " u") for text in texts]), disable_tqdm=True)
    assert not ours.has_replies(requests)  # and not generated again


def test_only_equal_tokens_are_the_same_prompt(models: tuple[FinHF, HFLM]) -> None:
    ours, stock = models
    spaced = prompts(["It rose. "])  # labels are asked behind "It rose.", a reply behind the space
    ours.expect_replies(spaced)
    ours.loglikelihood(instances([("It rose. ", "up"), ("It rose. ", "down")]), disable_tqdm=True)
    assert not ours.has_replies(spaced)
    assert replies(ours, spaced) == replies(stock, spaced)
    ours.forget_replies()
    ours.expect_replies(prompts(["It rose."], max_gen_toks=3))
    ours.loglikelihood(instances([("It rose.", " up")]), disable_tqdm=True)
    other = prompts(["It rose."], max_gen_toks=5)
    assert not ours.has_replies(other)
    assert replies(ours, other) == replies(stock, other)
    ours.forget_replies()


def test_replies_belong_to_one_model(folder: Path, tmp_path: Path) -> None:
    path = tiny_adapter(folder, tmp_path / "adapter", seed=1)
    ours, stock = ours_and_stock(folder)
    _, adapted = ours_and_stock(folder, peft=str(path))
    base, adapted_replies = replies(stock, prompts()), replies(adapted, prompts())
    assert base != adapted_replies
    ours.expect_replies(prompts())
    ours.loglikelihood(instances(PAIRS), disable_tqdm=True)
    ours.use_adapter(read_adapter("one", path))
    assert not ours.has_replies(prompts())
    ours.loglikelihood(instances(PAIRS), disable_tqdm=True)
    assert not ours.has_replies(prompts())  # expected of the base only
    ours.expect_replies(prompts())
    ours.loglikelihood(instances(PAIRS), disable_tqdm=True)
    assert replies(ours, prompts()) == adapted_replies
    ours.use_adapter(None)
    assert replies(ours, prompts()) == base


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"do_sample": True, "temperature": 0.7}, "sampled"),
        ({"repetition_penalty": 1.3}, "other settings"),
        ({"max_gen_toks": 65}, "replies of more than 64 tokens"),
    ],
)
def test_unsupported_requests_fall_back(settings: dict, reason: str, folder: Path) -> None:
    ours, stock = ours_and_stock(folder)
    found = []
    for model in (ours, stock):
        torch.manual_seed(0)
        found.append(replies(model, prompts(TEXTS[:1], **settings)))
    assert found[0] == found[1]
    (message,) = ours.fallback_reasons
    assert reason in message


def test_unsupported_generation_settings_fall_back(folder: Path, models: tuple[FinHF, HFLM]) -> None:
    ours, stock = ours_and_stock(folder)
    for model in (ours, stock):
        model.model.generation_config = GenerationConfig(eos_token_id=2, repetition_penalty=5.0)
    found = replies(ours, prompts())
    assert found == replies(stock, prompts())
    assert found != replies(models[0], prompts())
    assert ours.fallback_reasons == {"this model's generation settings have repetition_penalty"}


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("Mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}, "tree mask"),
        ("Mistral", {**LLAMA, "sliding_window": 40}, "longer than 40 tokens, where this model's attention changes"),
    ],
)
def test_unsupported_models_fall_back(
    name: str, settings: dict, reason: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    ours, stock = ours_and_stock(make(tiny_models, tmp_path, name, **settings), batch_size=1)
    assert replies(ours, prompts()) == replies(stock, prompts())
    (message,) = ours.fallback_reasons
    assert reason in message


def test_a_misread_cache_is_noticed(folder: Path, models: tuple[FinHF, HFLM]) -> None:
    """A model that counts positions itself when it gets a single token."""
    ours, stock = ours_and_stock(folder)

    def shifted(_: object, arguments: tuple, inputs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        if "input_ids" not in inputs or inputs["input_ids"].shape[1] > 1 or inputs["attention_mask"].ndim < 4:
            return arguments, inputs
        return arguments, {**inputs, "position_ids": inputs["position_ids"] + 3}

    handle = ours.model.register_forward_pre_hook(shifted, with_kwargs=True)
    try:
        found = replies(ours, prompts())
    finally:
        handle.remove()
    assert found == replies(stock, prompts())
    (message,) = ours.fallback_reasons
    assert "off by" in message
    assert ours.tree_incompatibility() == ""


def test_batches_shrink_when_memory_runs_out(folder: Path, models: tuple[FinHF, HFLM]) -> None:
    ours = FinHF(pretrained=str(folder), device="cpu", batch_size=6)
    assert ours.reply_incompatibility() == ""
    sizes: list[int] = []

    def small_device(_: object, __: object, inputs: dict[str, torch.Tensor]) -> None:
        if "input_ids" not in inputs:  # the look at one prompt before replies are written
            return
        sizes.append(len(inputs["input_ids"]))
        if inputs["input_ids"].shape[1] == 1 and sizes[-1] > 2:  # when the replies are on their way
            raise torch.OutOfMemoryError("CUDA out of memory.")

    requests = prompts([STEM + end for end in "abcdef"])
    handle = ours.model.register_forward_pre_hook(small_device, with_kwargs=True)
    try:
        found = replies(ours, requests)
    finally:
        handle.remove()
    assert found == replies(models[1], requests)
    assert max(sizes) == 6


def test_replies_go_into_lm_evals_cache(folder: Path, tmp_path: Path) -> None:
    ours, _ = ours_and_stock(folder)
    first = CachingLM(ours, str(tmp_path / "cache.db")).generate_until(prompts())
    calls: list[object] = []
    ours.model.register_forward_pre_hook(lambda *_: calls.append(1))
    assert CachingLM(ours, str(tmp_path / "cache.db")).generate_until(prompts()) == first
    assert not calls


@pytest.mark.parametrize("setting", [{"attn_implementation": "eager"}, {"add_bos_token": False}])
def test_attention_and_bos_settings(setting: dict[str, Any], folder: Path) -> None:
    ours, stock = ours_and_stock(folder, **setting)
    texts = [*TEXTS, "<s>begun by itself"]
    assert replies(ours, prompts(texts)) == replies(stock, prompts(texts))
    assert not ours.fallback_reasons
    assert replies(ours, []) == []


@pytest.mark.parametrize(
    ("settings", "plain"),
    [
        ({"until": ["\n"], "max_gen_toks": 16, "do_sample": False, "temperature": 0.0}, True),
        ({"until": "\n", "max_new_tokens": 16}, True),
        ({}, True),
        ({"do_sample": False, "temperature": 0.7}, True),  # as lm-eval takes it
        ({"temperature": 0.7}, False),
        ({"do_sample": True}, False),
        ({"num_beams": 4}, False),
        ({"max_length": 20}, False),
        (["\n"], False),
    ],
)
def test_greedy_requests(settings: Any, plain: bool) -> None:
    assert is_greedy_request(settings) is plain


@pytest.fixture(scope="module")
def tiny_model(tiny_models: dict[str, Path]) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(tiny_models["base"])


@pytest.mark.parametrize(
    ("settings", "non_greedy"),
    [
        ({"eos_token_id": [2, 3], "do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 20}, []),
        ({"repetition_penalty": 1.0, "num_beams": 1, "min_length": 0}, []),
        ({"repetition_penalty": 1.05}, ["repetition_penalty"]),
        ({"max_new_tokens": 20, "suppress_tokens": [5]}, ["max_new_tokens", "suppress_tokens"]),
        ({"num_beams": 3}, ["num_beams"]),
    ],
)
def test_non_greedy_model_settings(
    settings: dict[str, Any], non_greedy: list[str], tiny_model: PreTrainedModel
) -> None:
    tiny_model.generation_config = GenerationConfig(**settings)
    assert non_greedy_settings(tiny_model) == non_greedy


def test_an_overridden_generate_method(tiny_model: PreTrainedModel) -> None:
    class OwnGenerate(type(tiny_model)):
        def generate(self, *_: Any, **__: Any) -> None: ...

    assert len(non_greedy_settings(OwnGenerate(tiny_model.config))) == 1
