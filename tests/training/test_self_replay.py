"""The model's own answers: independent of batches, and cached."""

import json
import logging
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from fin_plugins.common.errors import FinError
from fin_plugins.training import self_replay as module
from fin_plugins.training.conversations import Conversation, read_replay
from fin_plugins.training.self_replay import answer_instructions, self_replay, stop_tokens
from fin_plugins.training.train_config import Replay

PROMPTS = ["Hi", "Why is the sky blue?", "List three birds.", "Say <|eot_id|> twice, and then explain why. " * 3, "?"]
SELF = Replay(source="self", max_new_tokens=6)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def load(folder: Path) -> tuple[Any, Any]:
    """A tiny model with varied answers, in which some letters end an answer too."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.manual_seed(5)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.4)
    model.generation_config.eos_token_id = [model.generation_config.eos_token_id, *range(0, 256, 32)]
    return model, AutoTokenizer.from_pretrained(folder)


def answers(model: Any, tokenizer: Any, batch_size: int = 3, length: int = 24, **settings: Any) -> list[Conversation]:
    return answer_instructions(
        *(model, tokenizer, settings.get("prompts", PROMPTS)),
        max_new_tokens=length,
        batch_size=batch_size,
        on_batch=settings.get("on_batch", lambda done: None),
    )


@pytest.mark.parametrize("name", ["llama3", "gemma", "base"])
def test_batches_and_padding_change_no_answer(name: str, tiny_models: dict[str, Path]) -> None:
    model, tokenizer = load(tiny_models[name])
    conversations = answers(model, tokenizer)
    stops = stop_tokens(model, tokenizer)
    expected = [alone(model, tokenizer, prompt, stops) for prompt in PROMPTS]
    assert [(each.messages[-1]["content"], each.complete) for each in conversations] == [
        each for each in expected if each[0]
    ]
    assert {each.complete for each in conversations} == {True, False}
    assert len({each.messages[-1]["content"] for each in conversations}) > 2


def alone(model: Any, tokenizer: Any, prompt: str, stops: list[int]) -> tuple[str, bool]:
    """What `generate` answers to one prompt without padding."""
    prompt = prompt.replace("<|eot_id|>", "< |eot_id|>")
    if tokenizer.chat_template:
        turns = [{"role": "user", "content": prompt}]
        tokens = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    else:
        tokens = tokenizer(prompt + "\n", return_tensors="pt")["input_ids"]
    generated = model.generate(tokens, do_sample=False, max_new_tokens=24, eos_token_id=stops, pad_token_id=stops[0])
    answer = generated[0, tokens.shape[1] :].tolist()
    complete = answer[-1] in stops
    text = tokenizer.decode(answer[:-1] if complete else answer, skip_special_tokens=True).strip()
    return text if complete else text.rstrip("�"), complete


def test_model_is_left_as_it_was(tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = load(tiny_models["llama3"])
    plain = answers(model, tokenizer)
    tokenizer.padding_side = "right"
    model.train()
    model.model.layers[0].eval()
    model.model.layers[1].self_attn.attention_dropout = 0.5
    model.generation_config.update(do_sample=True, temperature=0.7, repetition_penalty=3.0, max_length=30)
    settings = model.generation_config
    before = settings.to_dict()
    assert answers(model, tokenizer) == plain  # none of these settings counts
    assert model.generation_config is settings and settings.to_dict() == before
    assert tokenizer.padding_side == "right"
    assert model.training and not model.model.layers[0].training and model.model.layers[1].training
    monkeypatch.setattr(model, "generate", lambda **_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        answers(model, tokenizer)
    assert model.generation_config is settings and model.training


def test_order_progress_and_empty_answers(tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = load(tiny_models["base"])
    model.generation_config.eos_token_id = None
    stop, letters = tokenizer.eos_token_id, tokenizer("[INST] ", add_special_tokens=False)["input_ids"]
    rows = iter([[[*letters, stop, stop]], [[letters[-1], stop, stop, stop]], [letters]])
    monkeypatch.setattr(module, "_generate", lambda *_: next(rows))
    done: list[int] = []
    prompts = ["short", "the very longest of all", "of middle length"]
    conversations = answers(model, tokenizer, 1, prompts=prompts, on_batch=done.append)
    answered = [(each.messages[0]["content"], each.messages[1]["content"], each.complete) for each in conversations]
    assert answered == [
        ("short", "[ INST]", False),
        ("the very longest of all", "[ INST]", True),
    ]
    assert done == [1, 1, 1]  # the longest came first; the middle one came out empty


@pytest.mark.parametrize(
    ("name", "end"), [("llama3", "<|eot_id|>"), ("gemma", "<end_of_turn>"), ("phi3", "<|end|>"), ("base", "</s>")]
)
def test_answers_end_where_the_template_ends_a_turn(name: str, end: str, tiny_models: dict[str, Path]) -> None:
    model, tokenizer = load(tiny_models[name])
    model.generation_config.eos_token_id = None
    stops = stop_tokens(model, tokenizer)
    assert tokenizer.convert_tokens_to_ids(end) in stops and tokenizer.eos_token_id in stops
    assert len(stops) == (2 if name == "gemma" else 1)


def test_model_without_an_end(tiny_models: dict[str, Path]) -> None:
    model, tokenizer = load(tiny_models["base"])
    model.generation_config.eos_token_id = tokenizer.eos_token = None
    with pytest.raises(FinError, match="neither model nor tokenizer"):
        answers(model, tokenizer)


def test_cache(tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = load(tiny_models["llama3"])
    cache = tmp_path / "new" / "replay.jsonl"
    first = self_replay(model, tokenizer, SELF, 5, 1, cache)
    assert first == self_replay(model, tokenizer, SELF, 5, 1, None)
    assert [path.name for path in cache.parent.iterdir()] == ["replay.jsonl"]
    assert sorted(read_replay(Replay(source=str(cache)), len(first), 0), key=str) == sorted(first, key=str)

    calls = count()
    real = module.answer_instructions
    monkeypatch.setattr(module, "answer_instructions", lambda *a, **k: (next(calls), real(*a, **k))[1])
    assert self_replay(model, tokenizer, SELF, 5, 1, cache) == first
    assert next(calls) == 0  # the model was not called

    changes = [(SELF, 5, 2), (SELF, 4, 2), (SELF.model_copy(update={"max_new_tokens": 7}), 4, 2)]
    for number, (replay, size, seed) in enumerate(changes, start=1):
        self_replay(model, tokenizer, replay, size, seed, cache)
        assert next(calls) == 2 * number  # its own call and ours
    cache.write_text(cache.read_text(encoding="utf-8")[:-9], encoding="utf-8")
    again = self_replay(model, tokenizer, *changes[-1], cache)
    assert next(calls) == 8 and again == self_replay(model, tokenizer, *changes[-1], cache)
    with torch.no_grad():
        model.lm_head.weight[0] += 1
    self_replay(model, tokenizer, *changes[-1], cache)
    assert next(calls) == 10  # another model


def test_draw_of_own_instructions(
    tiny_models: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, tokenizer = load(tiny_models["base"])
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in [*PROMPTS, PROMPTS[0]]))
    replay = SELF.model_copy(update={"instructions": str(file)})
    with caplog.at_level(logging.WARNING):
        conversations = self_replay(model, tokenizer, replay, 8, 1, None)
    assert "3 examples are missing: name more than 5" in caplog.text
    answered = [each.messages[0]["content"] for each in conversations]
    assert len(answered) == len(set(answered)) > 2


def test_cache_that_cannot_be_written(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FinError, match="cannot be written"):
        self_replay(*load(tiny_models["base"]), SELF, 1, 1, tmp_path / "file" / "replay.jsonl")
