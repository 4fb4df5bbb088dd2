"""`fin_hf`'s greedy replies against lm-eval's own, a prompt at a time: the same text, from fewer passes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.model import CachingLM
from lm_eval.models.huggingface import HFLM
from transformers import GenerationConfig

from fin_plugins.scoring.adapters import read_adapter
from fin_plugins.scoring.hf import FinHF
from tests.scoring.prompts import tiny_adapter
from tests.scoring.test_hf_models import GEMMA, GPT2, make
from tests.scoring.tiny import SIZES, close, instances

STEM = "What happened to the gold price? Answer up, down or unchanged. " * 2
TEXTS = [STEM, STEM + "It rose.", STEM + "It fell, rose, fell again, and closed where it began.", "Gold:", "x", "x y "]
PAIRS = [(text, label) for text in TEXTS for label in (" up", " down", " unchanged")]
LLAMA = {**SIZES, "num_key_value_heads": 2}


def asked(texts: list[str] = TEXTS, **settings: Any) -> list:
    given = {"until": ["\n"], "max_gen_toks": 9, "do_sample": False, "temperature": 0.0, **settings}
    return instances([(text, given) for text in texts], "generate_until")


def ours_and_stock(folder: Path, **settings: Any) -> tuple[FinHF, HFLM]:
    """lm-eval answers a prompt at a time: in a batch it also writes on behind a stop, until all have stopped."""
    arguments = {"pretrained": str(folder), "device": "cpu", **settings}
    return FinHF(**{"batch_size": 4, **arguments}), HFLM(**{**arguments, "batch_size": 1})


def replies(model: HFLM, requests: list) -> list[str]:
    return model.generate_until(requests, disable_tqdm=True)


def letters(text: str) -> list[str]:
    """The characters of a random reply that are one token each; the others are halves of characters."""
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
def test_the_same_text_alone_and_along_with_labels(
    name: str, settings: dict, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    ours, stock = ours_and_stock(make(tiny_models, tmp_path, name, **settings))
    expected = replies(stock, asked())
    assert len(set(expected)) > 2
    assert replies(ours, asked()) == expected
    labels = instances(PAIRS)
    alone = ours.loglikelihood(labels, disable_tqdm=True)
    ours.expect_replies(asked())
    assert close(ours.loglikelihood(labels, disable_tqdm=True), alone, 1e-5)
    assert replies(ours, asked()) == expected
    assert not ours._said


@pytest.mark.parametrize("size", [1, 2, 8, "auto"])
def test_every_reply_ends_by_itself(size: int | str, folder: Path, models: tuple[FinHF, HFLM]) -> None:
    _, stock = models
    whole = replies(stock, asked(until=[]))
    stops = [whole[1][:2], letters(whole[2])[0], letters(whole[3])[1]]  # of several tokens, at once, in the midst
    ours = FinHF(pretrained=str(folder), device="cpu", batch_size=size)
    found = replies(ours, asked(until=stops))
    assert found == replies(stock, asked(until=stops))
    assert len({len(text) for text in found}) > 2
    assert replies(ours, asked(until=stops[0])) == replies(stock, asked(until=stops[0]))
    assert replies(ours, asked(max_gen_toks=1)) == replies(stock, asked(max_gen_toks=1))
    assert not ours._said


def test_several_ends_of_a_text(folder: Path, models: tuple[FinHF, HFLM]) -> None:
    ours, stock = ours_and_stock(folder)
    whole = replies(models[1], asked(until=[]))
    ends = ours.tok_encode(letters(whole[2])[0] + letters(whole[3])[1], add_special_tokens=False)
    for model in (ours, stock):
        model.model.generation_config.eos_token_id = [2, *ends]
    found = replies(ours, asked())
    assert found == replies(stock, asked())
    assert found != replies(models[1], asked())


def test_labels_and_replies_from_one_pass(folder: Path) -> None:
    ours, stock = ours_and_stock(folder)
    texts = [STEM + end for end in ("a", "b", "c", "d")]
    expected = replies(stock, asked(texts, until=[]))
    requests = asked(texts, until=[expected[0][1]])
    assert ours._unfit() == ours._unfit_for_replies() == ""
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
    assert steps[-1][0] < 4  # what has ended is not computed on
    assert ours.has_replies(requests)
    shapes.clear()
    assert replies(ours, requests) == replies(stock, requests)
    handle.remove()
    assert not shapes
    assert not ours.has_replies(requests)  # handed over
    ours.loglikelihood(instances([(text, " u") for text in texts]), disable_tqdm=True)
    assert not ours.has_replies(requests)  # nor written again


def test_only_the_same_tokens_are_the_same_prompt(models: tuple[FinHF, HFLM]) -> None:
    ours, stock = models
    spaced = asked(["It rose. "])  # labels are asked behind "It rose.", a reply behind the space
    ours.expect_replies(spaced)
    ours.loglikelihood(instances([("It rose. ", "up"), ("It rose. ", "down")]), disable_tqdm=True)
    assert not ours.has_replies(spaced)
    assert replies(ours, spaced) == replies(stock, spaced)
    ours.forget_replies()
    ours.expect_replies(asked(["It rose."], max_gen_toks=3))
    ours.loglikelihood(instances([("It rose.", " up")]), disable_tqdm=True)
    other = asked(["It rose."], max_gen_toks=5)
    assert not ours.has_replies(other)
    assert replies(ours, other) == replies(stock, other)
    ours.forget_replies()


def test_replies_belong_to_one_model(folder: Path, tmp_path: Path) -> None:
    path = tiny_adapter(folder, tmp_path / "adapter", seed=1)
    ours, stock = ours_and_stock(folder)
    _, adapted = ours_and_stock(folder, peft=str(path))
    base, theirs = replies(stock, asked()), replies(adapted, asked())
    assert base != theirs
    ours.expect_replies(asked())
    ours.loglikelihood(instances(PAIRS), disable_tqdm=True)
    ours.use_adapter(read_adapter("one", path))
    assert not ours.has_replies(asked())
    ours.loglikelihood(instances(PAIRS), disable_tqdm=True)
    assert not ours.has_replies(asked())  # what was expected of the base is not expected of it
    ours.expect_replies(asked())
    ours.loglikelihood(instances(PAIRS), disable_tqdm=True)
    assert replies(ours, asked()) == theirs
    ours.use_adapter(None)
    assert replies(ours, asked()) == base


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"do_sample": True, "temperature": 0.7}, "replies that are drawn"),
        ({"repetition_penalty": 1.3}, "other settings"),
        ({"max_gen_toks": 65}, "replies of more than 64 tokens"),
    ],
)
def test_other_requests_go_lm_evals_way(settings: dict, reason: str, folder: Path) -> None:
    ours, stock = ours_and_stock(folder)
    found = []
    for model in (ours, stock):
        torch.manual_seed(0)
        found.append(replies(model, asked(TEXTS[:1], **settings)))
    assert found[0] == found[1]
    (said,) = ours._said
    assert reason in said


def test_a_model_with_other_settings_goes_lm_evals_way(folder: Path, models: tuple[FinHF, HFLM]) -> None:
    ours, stock = ours_and_stock(folder)
    for model in (ours, stock):
        model.model.generation_config = GenerationConfig(eos_token_id=2, repetition_penalty=5.0)
    found = replies(ours, asked())
    assert found == replies(stock, asked())
    assert found != replies(models[0], asked())
    assert ours._said == {"this model's generation settings have repetition_penalty"}


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("Mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}, "tree mask"),
        ("Mistral", {**LLAMA, "sliding_window": 40}, "longer than 40 tokens, where this model's attention changes"),
    ],
)
def test_other_models_go_lm_evals_way(
    name: str, settings: dict, reason: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    ours, stock = ours_and_stock(make(tiny_models, tmp_path, name, **settings), batch_size=1)
    assert replies(ours, asked()) == replies(stock, asked())
    (said,) = ours._said
    assert reason in said


def test_a_cache_that_is_misread_is_noticed(folder: Path, models: tuple[FinHF, HFLM]) -> None:
    """As by a model that counts positions itself where one token is asked."""
    ours, stock = ours_and_stock(folder)

    def shifted(_: object, arguments: tuple, inputs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        if "input_ids" not in inputs or inputs["input_ids"].shape[1] > 1 or inputs["attention_mask"].ndim < 4:
            return arguments, inputs
        return arguments, {**inputs, "position_ids": inputs["position_ids"] + 3}

    handle = ours.model.register_forward_pre_hook(shifted, with_kwargs=True)
    try:
        found = replies(ours, asked())
    finally:
        handle.remove()
    assert found == replies(stock, asked())
    (said,) = ours._said
    assert "replies from the cache are off by" in said
    assert ours._unfit() == ""


def test_smaller_batches_where_memory_does_not_suffice(folder: Path, models: tuple[FinHF, HFLM]) -> None:
    ours = FinHF(pretrained=str(folder), device="cpu", batch_size=6)
    assert ours._unfit_for_replies() == ""
    sizes: list[int] = []

    def small_device(_: object, __: object, inputs: dict[str, torch.Tensor]) -> None:
        if "input_ids" not in inputs:  # the look at one prompt before replies are written
            return
        sizes.append(len(inputs["input_ids"]))
        if inputs["input_ids"].shape[1] == 1 and sizes[-1] > 2:  # when the replies are on their way
            raise torch.OutOfMemoryError("CUDA out of memory.")

    requests = asked([STEM + end for end in "abcdef"])
    handle = ours.model.register_forward_pre_hook(small_device, with_kwargs=True)
    try:
        found = replies(ours, requests)
    finally:
        handle.remove()
    assert found == replies(models[1], requests)
    assert max(sizes) == 6


def test_replies_go_into_lm_evals_cache(folder: Path, tmp_path: Path) -> None:
    ours, _ = ours_and_stock(folder)
    first = CachingLM(ours, str(tmp_path / "cache.db")).generate_until(asked())
    calls: list[object] = []
    ours.model.register_forward_pre_hook(lambda *_: calls.append(1))
    assert CachingLM(ours, str(tmp_path / "cache.db")).generate_until(asked()) == first
    assert not calls


@pytest.mark.parametrize("setting", [{"attn_implementation": "eager"}, {"add_bos_token": False}])
def test_other_settings(setting: dict[str, Any], folder: Path) -> None:
    ours, stock = ours_and_stock(folder, **setting)
    texts = [*TEXTS, "<s>begun by itself"]
    assert replies(ours, asked(texts)) == replies(stock, asked(texts))
    assert not ours._said
    assert replies(ours, []) == []
