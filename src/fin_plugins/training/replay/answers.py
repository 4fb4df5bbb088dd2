"""What a model answers to instructions: greedy, in batches; in float32 each answer is the one it gives alone."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig

from fin_plugins.common.errors import FinError
from fin_plugins.tasks.control_tokens import defuse
from fin_plugins.training.replay.source import Conversation


def answer_instructions(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int,
    on_done: Callable[[int], None],
) -> list[Conversation]:
    """Let a model answer instructions, in its chat template, or behind prompt and line break where it has none.

    Args:
        model: a causal model of transformers; mode and generation settings are afterwards as before.
        tokenizer: its tokenizer.
        prompts: the instructions; control tokens in them are broken.
        max_new_tokens: length of an answer at most; a longer one is cut and not `complete`.
        batch_size: instructions that go through the model together.
        on_done: is told after each batch how many instructions it had.

    Returns:
        One conversation an instruction, in the order of the prompts; empty answers are left out.

    Raises:
        FinError: nothing ends an answer.
    """
    texts = [defuse(prompt) for prompt in prompts]
    encoded = [_encode(tokenizer, text) for text in texts]
    # Longest first: where the memory does not suffice, it shows at once.
    order = sorted(range(len(texts)), key=lambda index: -len(encoded[index]))
    stops = stop_tokens(model, tokenizer)
    found: dict[int, Conversation] = {}
    with _greedy(model, stops, max_new_tokens):
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            answers = _generate(model, [encoded[index] for index in batch], stops[0])
            for index, answer in zip(batch, answers, strict=True):
                found[index] = _conversation(tokenizer, texts[index], answer, set(stops))
            on_done(len(batch))
    whole = [found[index] for index in range(len(texts))]
    return [each for each in whole if each.messages[-1]["content"]]


def _encode(tokenizer: Any, text: str) -> list[int]:
    if not tokenizer.chat_template:
        return list(tokenizer(text + "\n")["input_ids"])
    # A model that thinks aloud would fill the answer with it; templates without the switch ignore it.
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    return list(tokenizer(rendered, add_special_tokens=False)["input_ids"])


def stop_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Tokens that end an answer: the tokenizer's, the model's, and what the chat template puts behind an answer.

    Raises:
        FinError: there is none.
    """
    given = model.generation_config.eos_token_id
    listed = given if isinstance(given, list) else [given]
    found = [token for token in (*listed, tokenizer.eos_token_id, _end_of_turn(tokenizer)) if token is not None]
    if not found:
        raise FinError("neither model nor tokenizer has an end-of-text token: set `eos_token` in tokenizer_config.json")
    return list(dict.fromkeys(found))


def _end_of_turn(tokenizer: Any) -> int | None:
    # Some base models come with a chat template whose end of turn is not their end of text.
    if not tokenizer.chat_template:
        return None
    turns = [{"role": "user", "content": "Question?"}, {"role": "assistant", "content": "Answer."}]
    rendered = tokenizer.apply_chat_template(turns, tokenize=False, enable_thinking=False)
    behind = tokenizer(rendered.rpartition("Answer.")[2].lstrip(), add_special_tokens=False)["input_ids"]
    token = tokenizer.added_tokens_decoder.get(behind[0]) if behind else None
    return behind[0] if token is not None and token.special else None


@contextmanager
def _greedy(model: Any, stops: list[int], max_new_tokens: int) -> Iterator[None]:
    """Plain greedy generation inside: no dropout, and none of the model's own settings.

    They go, since a repetition penalty, say, would count the padding too.
    """
    modes = [(module, module.training) for module in model.modules()]
    before = model.generation_config
    model.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=stops, pad_token_id=stops[0], use_cache=True
    )
    model.eval()
    try:
        yield
    finally:
        model.generation_config = before
        for module, mode in modes:
            module.training = mode


def _generate(model: Any, batch: list[list[int]], padding: int) -> list[list[int]]:
    longest = max(map(len, batch))
    tokens = torch.tensor([[padding] * (longest - len(each)) + each for each in batch], device=model.device)
    mask = torch.tensor([[0] * (longest - len(each)) + [1] * len(each) for each in batch], device=model.device)
    generated = model.generate(input_ids=tokens, attention_mask=mask)
    return generated[:, longest:].tolist()  # type: ignore[no-any-return]


def _conversation(tokenizer: Any, prompt: str, answer: list[int], stops: set[int]) -> Conversation:
    end = next((index for index, token in enumerate(answer) if token in stops), None)
    text = tokenizer.decode(answer[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False).strip()
    if end is None:
        text = text.rstrip("�")  # a character of several tokens, cut half-way
    messages = ({"role": "user", "content": prompt}, {"role": "assistant", "content": defuse(text)})
    return Conversation(messages, complete=end is not None)
