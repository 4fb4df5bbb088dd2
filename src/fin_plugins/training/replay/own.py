"""`replay: self`: the base model's own answers to general instructions, so that nothing has to be downloaded.

Self-synthesised rehearsal (arXiv 2403.01244): training keeps what the model could do before as well with its own
answers as with the data it was once made from.
"""

import hashlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from fin_plugins.common.atomic import write_file
from fin_plugins.common.errors import FinError
from fin_plugins.training.config import Replay
from fin_plugins.training.replay.source import Conversation, conversation, draw, is_text, read_rows

log = logging.getLogger(__name__)

# On one core, four times as many were no faster: every answer waits for the longest of its batch.
_BATCH_ON_CPU, _BATCH = 16, 32
_EVERY = 10.0  # seconds between lines of progress


def self_replay(
    model: Any, tokenizer: Any, replay: Replay, wanted: int, seed: int, cache: Path | None
) -> list[Conversation]:
    """Let the base model answer instructions, each once; a warning says where there are fewer than wanted.

    Args:
        model: the base model, without an adapter.
        tokenizer: its tokenizer.
        replay: names the instructions, by default the package's own, and the length of an answer.
        wanted: conversations.
        seed: of the draw; answers are greedy.
        cache: where the answers are kept; made by the same model from the same instructions, they are read again.

    Raises:
        FinError: the instructions cannot be read, or the answers not be written.
    """
    from fin_plugins.training.replay.answers import answer_instructions

    prompts = read_instructions(replay.instructions)
    if (missing := wanted - len(prompts)) > 0:
        log.warning("replay: self: %d examples are missing: name more than %d instructions", missing, len(prompts))
    prompts = [prompts[index] for index in draw(len(prompts), min(wanted, len(prompts)), seed)]
    key = _key(model, tokenizer, prompts, replay.max_new_tokens)
    if cache is not None and (kept := _read(cache, key)):
        return kept
    size = _BATCH_ON_CPU if model.device.type == "cpu" else _BATCH
    with _shown(len(prompts)) as on_done:
        answers = answer_instructions(
            model, tokenizer, prompts, max_new_tokens=replay.max_new_tokens, batch_size=size, on_done=on_done
        )
    if cache is not None:
        _write(cache, key, answers)
    return answers


def read_instructions(file: str | None) -> list[str]:
    """The distinct prompts of a .jsonl file, by default of the package's own.

    Raises:
        FinError: the file cannot be read, or a row has no prompt.
    """
    if file is None:
        with resources.as_file(resources.files(__package__) / "instructions.jsonl") as shipped:
            return read_instructions(str(shipped))
    rows = read_rows(Path(file).expanduser())
    if not rows:
        raise FinError(f"{file}: no instructions in it")
    return list(dict.fromkeys(_prompt(where, row) for where, row in rows))


def _prompt(where: str, row: Any) -> str:
    prompt = row.get("prompt") if isinstance(row, dict) else None
    if not is_text(prompt):
        raise FinError(f'{where}: no instruction: write {{"prompt": "..."}}')
    return str(prompt).strip()


def _key(model: Any, tokenizer: Any, prompts: list[str], max_new_tokens: int) -> str:
    """What the answers depend on. Of the weights the first few of each: enough to tell two models apart."""
    digest = hashlib.sha256(json.dumps([prompts, max_new_tokens, tokenizer.chat_template]).encode())
    for name, weight in model.named_parameters():
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        if not weight.is_meta:  # as weights are that accelerate keeps on disk
            digest.update(repr(weight.detach().flatten()[:8].float().tolist()).encode())
    return digest.hexdigest()


def _read(cache: Path, key: str) -> list[Conversation]:
    """The answers kept, or none where there are none, others, or only broken ones."""
    try:
        rows = read_rows(cache)
        fits = all(isinstance(row, dict) and row.get("key") == key for _, row in rows)
        return [conversation(row, where) for where, row in rows] if fits else []
    except FinError:
        return []


def _write(cache: Path, key: str, answers: list[Conversation]) -> None:
    rows = [json.dumps({"key": key, **asdict(each)}, ensure_ascii=False) + "\n" for each in answers]
    try:
        write_file(cache, "".join(rows))
    except OSError as error:
        raise FinError(f"{cache}: cannot be written ({error.strerror}): choose another `output`") from error


@contextmanager
def _shown(total: int) -> Iterator[Callable[[int], None]]:
    """A bar where standard error is a terminal, elsewhere a line now and then."""
    title = "the model's own answers to general instructions"
    if not sys.stderr.isatty():
        yield _lines(total, title)
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.advance(task, done)


def _lines(total: int, title: str) -> Callable[[int], None]:
    state = {"done": 0, "said": time.monotonic()}

    def on_done(count: int) -> None:
        state["done"] += count
        if state["done"] == total or time.monotonic() - state["said"] >= _EVERY:
            state["said"] = time.monotonic()
            print(f"fin train: {title}: {state['done']} of {total}", file=sys.stderr, flush=True)

    return on_done
