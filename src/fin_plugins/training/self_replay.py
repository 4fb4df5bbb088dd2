"""`replay: self`: the base model's own answers to general instructions, so that no download is needed.

Self-synthesised rehearsal (arXiv 2403.01244): the model's own answers preserve its abilities as well as the data it was
trained on. Decoding is greedy and batched; in float32 an answer does not depend on its batch.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from fin_plugins.common.atomic import write_file
from fin_plugins.common.errors import FinError
from fin_plugins.common.progress import progress
from fin_plugins.tasks.documents import escape_control_tokens
from fin_plugins.training.conversations import (
    Conversation,
    parse_conversation,
    read_instructions,
    read_rows,
    sample_indices,
)
from fin_plugins.training.train_config import Replay

log = logging.getLogger(__name__)

# On one core, a batch four times as large was no faster: each answer waits for the longest of its batch.
_BATCH_ON_CPU, _BATCH = 16, 32


def self_replay(
    model: Any, tokenizer: Any, replay: Replay, count: int, seed: int, cache: Path | None
) -> list[Conversation]:
    """Let the base model answer instructions, each once; a warning says if there are fewer than `count`.

    Args:
        model: the base model without an adapter.
        tokenizer: its tokenizer.
        replay: the instructions, by default the bundled ones, and the maximum length of an answer.
        count: number of conversations.
        seed: seed of the sample of instructions.
        cache: cache file of the answers of this model to these instructions; None: no cache.

    Raises:
        FinError: the instructions cannot be read, or the cache cannot be written.
    """
    prompts = read_instructions(replay.instructions)
    if (missing := count - len(prompts)) > 0:
        log.warning("replay: self: %d examples are missing: name more than %d instructions", missing, len(prompts))
    prompts = [prompts[index] for index in sample_indices(len(prompts), min(count, len(prompts)), seed)]
    key = _cache_key(model, tokenizer, prompts, replay.max_new_tokens)
    if cache is not None and (cached := _read_cache(cache, key)):
        return cached
    batch_size = _BATCH_ON_CPU if model.device.type == "cpu" else _BATCH
    with progress("instructions", len(prompts), label="the model's own answers to general instructions") as counter:
        answers = answer_instructions(
            *(model, tokenizer, prompts),
            max_new_tokens=replay.max_new_tokens,
            batch_size=batch_size,
            on_batch=counter.advance,
        )
    if cache is not None:
        _write_cache(cache, key, answers)
    return answers


def answer_instructions(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int,
    on_batch: Callable[[int], None],
) -> list[Conversation]:
    """Let a model answer instructions, in its chat template, or after prompt and line break if it has none.

    Args:
        model: a causal model of transformers; its mode and generation settings are restored afterwards.
        tokenizer: its tokenizer.
        prompts: the instructions; control tokens in them are escaped.
        max_new_tokens: maximum length of an answer; a longer one is truncated and not `complete`.
        batch_size: instructions per batch.
        on_batch: called after each batch with its number of instructions.

    Returns:
        One conversation per instruction, in the order of the prompts, without empty answers.

    Raises:
        FinError: the model has no end-of-text token.
    """
    texts = [escape_control_tokens(prompt) for prompt in prompts]
    encoded = [_encode_prompt(tokenizer, text) for text in texts]
    # Longest first, so that a lack of memory shows immediately.
    order = sorted(range(len(texts)), key=lambda index: -len(encoded[index]))
    stops = stop_tokens(model, tokenizer)
    conversations: dict[int, Conversation] = {}
    with _greedy_generation(model, stops, max_new_tokens):
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            answers = _generate(model, [encoded[index] for index in batch], stops[0])
            for index, answer in zip(batch, answers, strict=True):
                conversations[index] = _conversation(tokenizer, texts[index], answer, set(stops))
            on_batch(len(batch))
    in_order = [conversations[index] for index in range(len(texts))]
    return [conversation for conversation in in_order if conversation.messages[-1]["content"]]


def stop_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Tokens that end an answer: the model's, the tokenizer's, and the one that follows an answer in the template.

    Raises:
        FinError: there is none.
    """
    eos = model.generation_config.eos_token_id
    candidates = [*(eos if isinstance(eos, list) else [eos]), tokenizer.eos_token_id, _template_end(tokenizer)]
    stops = [token for token in candidates if token is not None]
    if not stops:
        raise FinError("neither model nor tokenizer has an end-of-text token: set `eos_token` in tokenizer_config.json")
    return list(dict.fromkeys(stops))


def _cache_key(model: Any, tokenizer: Any, prompts: list[str], max_new_tokens: int) -> str:
    """Hash of all that the answers depend on; the first numbers of each weight are enough to tell models apart."""
    digest = hashlib.sha256(json.dumps([prompts, max_new_tokens, tokenizer.chat_template]).encode())
    for name, weight in model.named_parameters():
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        if not weight.is_meta:  # accelerate keeps such weights on disk
            digest.update(repr(weight.detach().flatten()[:8].float().tolist()).encode())
    return digest.hexdigest()


def _read_cache(cache: Path, key: str) -> list[Conversation]:
    """The cached answers; empty if there are none, others, or broken ones."""
    try:
        rows = read_rows(cache)
        if not all(isinstance(row, dict) and row.get("key") == key for _, row in rows):
            return []
        return [parse_conversation(row, place) for place, row in rows]
    except FinError:
        return []


def _write_cache(cache: Path, key: str, answers: list[Conversation]) -> None:
    rows = [json.dumps({"key": key, **asdict(answer)}, ensure_ascii=False) + "\n" for answer in answers]
    try:
        write_file(cache, "".join(rows))
    except OSError as error:
        raise FinError(f"{cache}: cannot be written ({error.strerror}): choose another `output`") from error


def _encode_prompt(tokenizer: Any, text: str) -> list[int]:
    if not tokenizer.chat_template:
        return list(tokenizer(text + "\n")["input_ids"])
    # A reasoning model would fill the answer with its thoughts; templates without the switch ignore it.
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    return list(tokenizer(rendered, add_special_tokens=False)["input_ids"])


def _template_end(tokenizer: Any) -> int | None:
    """The control token after an answer in the chat template; in some base models it is not the end-of-text token."""
    if not tokenizer.chat_template:
        return None
    turns = [{"role": "user", "content": "Question?"}, {"role": "assistant", "content": "Answer."}]
    rendered = tokenizer.apply_chat_template(turns, tokenize=False, enable_thinking=False)
    rest = tokenizer(rendered.rpartition("Answer.")[2].lstrip(), add_special_tokens=False)["input_ids"]
    token = tokenizer.added_tokens_decoder.get(rest[0]) if rest else None
    return rest[0] if token is not None and token.special else None


@contextmanager
def _greedy_generation(model: Any, stops: list[int], max_new_tokens: int) -> Iterator[None]:
    """Plain greedy generation: no dropout, and none of the model's own settings.

    A repetition penalty, for example, would count the padding too.
    """
    modes = [(module, module.training) for module in model.modules()]
    generation_config = model.generation_config
    model.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=stops, pad_token_id=stops[0], use_cache=True
    )
    model.eval()
    try:
        yield
    finally:
        model.generation_config = generation_config
        for module, mode in modes:
            module.training = mode


def _generate(model: Any, batch: list[list[int]], padding: int) -> list[list[int]]:
    longest = max(map(len, batch))
    tokens = torch.tensor([[padding] * (longest - len(ids)) + ids for ids in batch], device=model.device)
    mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in batch], device=model.device)
    generated = model.generate(input_ids=tokens, attention_mask=mask)
    return generated[:, longest:].tolist()  # type: ignore[no-any-return]


def _conversation(tokenizer: Any, prompt: str, answer: list[int], stops: set[int]) -> Conversation:
    end = next((index for index, token in enumerate(answer) if token in stops), None)
    text = tokenizer.decode(answer[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False).strip()
    if end is None:
        text = text.rstrip("�")  # a truncated character of several tokens
    messages = ({"role": "user", "content": prompt}, {"role": "assistant", "content": escape_control_tokens(text)})
    return Conversation(messages, complete=end is not None)
