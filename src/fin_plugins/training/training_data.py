"""The data of a run: examples of an epoch, validation rows, and counts of what was left out.

Everything that can be wrong with rows, tokenizer or template is found here, before the model is loaded.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from zlib import crc32

import numpy as np

from fin_plugins.common.errors import FinError, first_line
from fin_plugins.common.hashing import digest
from fin_plugins.data import split_guard
from fin_plugins.data.text_hashes import HeldOutTexts, hash_held_out_texts
from fin_plugins.evaluation.prompt_lm import PromptLM
from fin_plugins.training.config_checks import unseen_message
from fin_plugins.training.train_config import TaskShare, TrainConfig
from fin_plugins.training.train_record import ReplayData, TaskData
from fin_plugins.training.training_examples import (
    Example,
    TokenizedExample,
    check_embeddings,
    conversation_example,
    end_of_turn,
    may_lack_embeddings,
    task_example,
    tokenize_examples,
)
from fin_plugins.training.training_tasks import TrainingTask, load_tasks
from fin_plugins.training.validation_scores import ValidationRows

log = logging.getLogger(__name__)

Item = TypeVar("Item")


@dataclass
class TrainingData:
    """The data of a run.

    Attributes:
        model: the base model as named in the training file.
        lm: renders and tokenizes as evaluation does.
        chat: whether prompts use the chat template.
        end: end of turn.
        limit: maximum tokens of an example.
        unchecked: tasks whose test rows are not on this machine.
        examples: task examples of an epoch.
        validation: validation rows by task; empty without validation.
        tasks: what the record of the run says of each task.
    """

    model: str
    lm: PromptLM
    chat: bool
    end: str
    limit: int
    unchecked: list[str]
    examples: list[TokenizedExample] = field(default_factory=list)
    validation: dict[str, ValidationRows] = field(default_factory=dict)
    tasks: list[TaskData] = field(default_factory=list)

    def encode(self, strings: list[str], add_special_tokens: bool | None = None) -> list[list[int]]:
        """Token ids of each string, as in an evaluation."""
        return [self.lm.tok_encode(string, add_special_tokens) for string in strings]

    def tokenize(self, examples: Sequence[Example], loss: str) -> list[TokenizedExample]:
        """Tokenize examples, and drop those longer than the limit.

        Raises:
            FinError: the model has no embedding for a token.
        """
        tokenized = [
            example
            for example in tokenize_examples(examples, self.lm, self.encode, loss)
            if len(example.ids) <= self.limit
        ]
        check_embeddings(self.lm, (example.ids for example in tokenized), self.model)
        return tokenized

    @property
    def hash(self) -> str:
        """Hash of the task examples and the validation requests."""
        requests = {
            name: [request.args for row in rows.requests for request in row] for name, rows in self.validation.items()
        }
        train = [[example.ids, example.labels] for example in self.examples]
        return digest({"train": train, "validation": requests})


def load_training_data(config: TrainConfig, path: str) -> TrainingData:
    """Read and render the rows of all tasks, with test rows blocked.

    Args:
        config: the training file.
        path: folder or hub name of the base model, for its tokenizer.

    Raises:
        FinError: rows, tokenizer or template cannot be used; a task is unseen without `allow_unseen`; no example fits.
    """
    lm = _load_tokenizer(config, path)
    chat = _use_chat_template(config, lm)
    test_rows = hash_held_out_texts()
    with split_guard.block_test_split():
        tasks_by_name = load_trainable_tasks(config)
        shares = {task.name: share for share in config.tasks for task in tasks_by_name[share.task]}
        tasks = [task for share in config.tasks for task in tasks_by_name[share.task]]
        unchecked = [f"fin_{name}" for name in test_rows.unchecked]
        limit = min(config.max_length, lm.positions or config.max_length)
        data = TrainingData(config.model, lm, chat, end_of_turn(lm, chat), limit, unchecked)
        rows = {task.name: _TaskRows(task, test_rows, data, config) for task in tasks}
        counts = rows_per_epoch({name: len(task_rows.examples) for name, task_rows in rows.items()}, shares)
        for name, task_rows in rows.items():
            task_rows.add_to(data, shares[name], counts.get(name, 0), config)
    if unchecked:
        log.warning("not compared with the test rows of %s, which are not here: `fin data fetch`", ", ".join(unchecked))
    if not data.examples:
        raise FinError(f"no example is short enough: {_length_advice(config, lm)}")
    return data


def load_trainable_tasks(config: TrainConfig) -> dict[str, list[TrainingTask]]:
    """The tasks that each name of the training file stands for, without their test rows.

    Raises:
        FinError: a task cannot be loaded or trained on, or is marked as unseen without `allow_unseen`.
    """
    with split_guard.block_test_split():
        tasks_by_name = load_tasks([share.task for share in config.tasks])
    unseen = [task.name for tasks in tasks_by_name.values() for task in tasks if task.seen is False]
    if unseen and not config.allow_unseen:
        raise FinError(f"tasks: {unseen_message(unseen)}")
    return tasks_by_name


def replay_examples(
    config: TrainConfig, base: Any, data: TrainingData, checkpoints: Path
) -> tuple[list[TokenizedExample], ReplayData | None]:
    """The replay examples of an epoch, and their entry in the record; empty and None without replay.

    Args:
        config: the training file.
        base: the base model without an adapter; with `source: self` it answers instructions first.
        data: the task examples, whose number `ratio` refers to.
        checkpoints: folder of the checkpoints, where the base model's answers are cached.

    Raises:
        FinError: the source cannot be read.
    """
    if config.replay is None:
        return [], None
    from accelerate import PartialState

    from fin_plugins.training.conversations import read_replay
    from fin_plugins.training.self_replay import self_replay

    count = max(1, round(config.replay.ratio * len(data.examples)))
    if config.replay.source == "self":
        with PartialState().main_process_first():  # the other processes read its cache
            cache = checkpoints / "self-replay.jsonl"
            conversations = self_replay(base, data.lm.tokenizer, config.replay, count, config.seed, cache)
    else:
        conversations = read_replay(config.replay, count, config.seed)
    examples = [
        conversation_example(conversation.messages, data.lm, data.chat, data.end if conversation.complete else "")
        for conversation in conversations
    ]
    tokenized = data.tokenize(examples, config.loss)
    content_hash = digest([[example.ids, example.labels] for example in tokenized])
    return tokenized, ReplayData(source=config.replay.source, used=len(tokenized), hash=content_hash)


def rows_per_epoch(available: Mapping[str, int], shares: Mapping[str, TaskShare]) -> dict[str, int]:
    """Number of rows of each task in an epoch.

    Args:
        available: rows of each task.
        shares: each task's entry in the training file. With weights, the numbers are in their proportion, as large as
            the task allows that runs out first, and at least 1.
    """
    most = {name: min(rows, shares[name].cap or rows) * shares[name].repeat for name, rows in available.items() if rows}
    weights = {name: weight for name in most if (weight := shares[name].weight) is not None}
    if not weights:
        return most
    scale = min(most[name] / weight for name, weight in weights.items())
    return {name: max(1, round(weight * scale)) for name, weight in weights.items()}


def sample_mixture(items: Sequence[Item], share: TaskShare, count: int, seed: int, name: str) -> list[Item]:
    """Sample `count` of a task's items; the cap is applied first, so that `repeat` repeats the same rows."""
    capped = subsample(items, min(len(items), share.cap or len(items)), seed, f"{name} cap")
    return subsample(capped, count, seed, name)


def subsample(items: Sequence[Item], count: int, seed: int, name: str) -> list[Item]:
    """Sample `count` items in their order; no item repeats before all have been used.

    Args:
        items: not empty unless `count` is 0.
        count: number of items; more than there are repeats items.
        seed: seed of the run.
        name: purpose of the sample. Each name has its own random stream, so adding a task changes no other sample.
    """
    rng = np.random.default_rng([seed, crc32(name.encode("utf-8"))])
    repeats, rest = divmod(count, len(items)) if items else (0, 0)
    chosen = sorted(rng.permutation(len(items))[:rest])
    return [*items] * repeats + [items[index] for index in chosen]


class _TaskRows:
    """The train rows of one task, tokenized, with counts of the rows left out."""

    def __init__(self, task: TrainingTask, test_rows: HeldOutTexts, data: TrainingData, config: TrainConfig) -> None:
        self.task = task
        documents = task.documents("training")
        leaks = test_rows.leaks([task.text(document) for document in documents], task.dataset)
        self.leaks = sum(leaks)
        requests = task.requests("training", data.lm, data.chat)
        examples = [
            task_example(row_requests, task.gold(document), data.end, task.text(document))
            for row_requests, document, leak in zip(requests, documents, leaks, strict=True)
            if config.keep_leaks or not leak
        ]
        self.available = len(documents)
        self.examples = data.tokenize(examples, config.loss)
        self.too_long = len(examples) - len(self.examples)
        if self.too_long:
            log.warning(
                "%s: %d of %d examples are longer than %d tokens and left out: %s",
                *(task.name, self.too_long, len(examples), data.limit),
                _length_advice(config, data.lm),
            )

    def add_to(self, data: TrainingData, share: TaskShare, count: int, config: TrainConfig) -> None:
        """Add a sample of the rows to the examples, validation rows, and the task's entry in the record."""
        name = self.task.name
        sampled = sample_mixture(self.examples, share, count, config.seed, name)
        validation = _validation_rows(self.task, data, config)
        data.examples += sampled
        if validation.gold:
            data.validation[name] = validation
        fin = self.task.fin
        data.tasks.append(
            TaskData(
                task=name,
                rows_hash=dict(fin.get("content_hash") or {"train": digest(self.task.documents("training"))}),
                available=self.available,
                leaks_dropped=0 if config.keep_leaks else self.leaks,
                too_long=self.too_long,
                used=len({id(example) for example in sampled}),
                per_epoch=count,
                validation=len(validation.gold),
                origin=fin.get("data", "real"),
                licence=fin.get("licence"),
                seen=self.task.seen,
            )
        )


def _validation_rows(task: TrainingTask, data: TrainingData, config: TrainConfig) -> ValidationRows:
    if config.validation is None:
        return ValidationRows((), ())
    gold = [task.gold(document) for document in task.documents("validation")]
    if not gold:
        log.warning("%s has no validation rows, so checkpoints are compared by the other tasks", task.name)
        return ValidationRows((), ())
    rows = list(zip(task.requests("validation", data.lm, data.chat), gold, strict=True))
    sampled = subsample(rows, min(len(rows), config.validation.rows), config.seed, f"{task.name} validation")
    if may_lack_embeddings(data.lm):
        texts = ["".join(request.args) for requests, _ in sampled for request in requests]
        check_embeddings(data.lm, data.encode(texts), config.model)
    return ValidationRows([requests for requests, _ in sampled], [gold for _, gold in sampled])


def _load_tokenizer(config: TrainConfig, path: str) -> PromptLM:
    try:
        return PromptLM("fin_hf", {"pretrained": path, "trust_remote_code": config.trust_remote_code})
    except (OSError, ValueError) as error:
        raise FinError(f"model: {config.model}: its tokenizer cannot be loaded ({first_line(error)})") from error


def _use_chat_template(config: TrainConfig, lm: PromptLM) -> bool:
    has_template = lm.tokenizer.chat_template is not None
    if config.chat_template is True and not has_template:
        raise FinError(f"chat_template: true, but the tokenizer of {config.model} has none: use auto or false")
    return has_template if config.chat_template == "auto" else bool(config.chat_template)


def _length_advice(config: TrainConfig, lm: PromptLM) -> str:
    """What limits the length of examples, and what to do about it."""
    if lm.positions and lm.positions < config.max_length:
        return (
            f"the model has {lm.positions} positions, and a larger max_length (now {config.max_length}) adds none: "
            "use a model with a longer context"
        )
    return f"raise max_length (now {config.max_length})"
