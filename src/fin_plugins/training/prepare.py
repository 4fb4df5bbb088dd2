"""Everything that can be made ready, and everything that can be found wrong, before a model is loaded."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fin_plugins.common.errors import FinError, first_line
from fin_plugins.common.hashing import digest
from fin_plugins.data import guard
from fin_plugins.data.held_out import HeldOut, held_out
from fin_plugins.evaluation.prompts import PromptLM
from fin_plugins.training.config import TaskShare, TrainConfig
from fin_plugins.training.embedding_rows import check_tokens, may_lack_embeddings
from fin_plugins.training.examples import Example, Tokens, end_of_turn, task_example, tokenise
from fin_plugins.training.files.task_rules import unseen
from fin_plugins.training.mixture import draw, per_epoch, take
from fin_plugins.training.report.record import TaskData
from fin_plugins.training.tasks import TrainingTask, load_tasks
from fin_plugins.training.validation import ValidationRows

log = logging.getLogger(__name__)


@dataclass
class Prepared:
    """The data of a run.

    Attributes:
        model: the base, as the training file names it.
        lm: renders and tokenises as evaluation does.
        chat: whether prompts are in the chat template.
        end: what ends a turn.
        limit: tokens of an example at most.
        unchecked: tasks whose test rows are not on this machine.
        tokens: an epoch's task examples.
        validation: validation rows by task; empty where validation is off.
        tasks: what is recorded of each task.
    """

    model: str
    lm: PromptLM
    chat: bool
    end: str
    limit: int
    unchecked: list[str]
    tokens: list[Tokens] = field(default_factory=list)
    validation: dict[str, ValidationRows] = field(default_factory=dict)
    tasks: list[TaskData] = field(default_factory=list)

    def encode(self, strings: list[str], add_special_tokens: bool | None = None) -> list[list[int]]:
        """Tokens of every string, as evaluation has them."""
        return [self.lm.tok_encode(string, add_special_tokens) for string in strings]

    def tokenise(self, examples: Sequence[Example], loss: str) -> list[Tokens]:
        """Examples in tokens; those longer than the limit are left out.

        Raises:
            FinError: the model has no embedding for a token.
        """
        found = [one for one in tokenise(examples, self.lm, self.encode, loss) if len(one.ids) <= self.limit]
        check_tokens(self.lm, (one.ids for one in found), self.model)
        return found

    @property
    def hash(self) -> str:
        """Of all that is learnt from and compared by."""
        held = {name: [one.args for row in rows.requests for one in row] for name, rows in self.validation.items()}
        return digest({"train": [[one.ids, one.labels] for one in self.tokens], "validation": held})


def prepare(config: TrainConfig, path: str) -> Prepared:
    """Read and render the rows of every task, with test rows out of reach.

    Args:
        config: the training file.
        path: folder or hub name of the base model, for its tokenizer.

    Raises:
        FinError: rows, tokenizer or template cannot be used; unseen tasks without `allow_unseen`; nothing left.
    """
    lm = _tokenizer(config, path)
    chat = _chat(config, lm)
    known = held_out()
    with guard.test_rows_closed():
        found = load_trainable(config)
        shares = {task.name: share for share in config.tasks for task in found[share.task]}
        tasks = [task for share in config.tasks for task in found[share.task]]
        unchecked = [f"fin_{name}" for name in known.unchecked]
        prepared = Prepared(config.model, lm, chat, end_of_turn(lm, chat), _limit(config, lm), unchecked)
        rows = {task.name: _Rows(task, known, prepared, config) for task in tasks}
        counts = per_epoch({name: len(one.tokens) for name, one in rows.items()}, shares)
        for name, one in rows.items():
            one.add_to(prepared, shares[name], counts.get(name, 0), config)
    if unchecked:
        log.warning("not compared with the test rows of %s, which are not here: `fin data fetch`", ", ".join(unchecked))
    if not prepared.tokens:
        raise FinError(f"no example is short enough: {_limit_in_words(config, lm)}")
    return prepared


def load_trainable(config: TrainConfig) -> dict[str, list[TrainingTask]]:
    """The tasks that each name of the training file stands for, their test rows out of reach.

    Raises:
        FinError: one cannot be loaded or trained on; one is marked unseen, without `allow_unseen`.
    """
    with guard.test_rows_closed():
        found = load_tasks([share.task for share in config.tasks])
    marked = [task.name for tasks in found.values() for task in tasks if task.seen is False]
    if marked and not config.allow_unseen:
        raise FinError(f"tasks: {unseen(marked)}")
    return found


class _Rows:
    """The train rows of one task, in tokens, and what was left out of them."""

    def __init__(self, task: TrainingTask, known: HeldOut, prepared: Prepared, config: TrainConfig) -> None:
        self.task = task
        documents = task.documents("training")
        leaks = known.leaks([task.text(document) for document in documents], task.rows)
        self.leaks = sum(leaks)
        kept = [config.keep_leaks or not leak for leak in leaks]
        requests = task.requests("training", prepared.lm, prepared.chat)
        examples = [
            task_example(one, task.gold(document), prepared.end, task.text(document))
            for one, document, keep in zip(requests, documents, kept, strict=True)
            if keep
        ]
        self.available, self.wanted = len(documents), len(examples)
        self.tokens = prepared.tokenise(examples, config.loss)
        if self.wanted > len(self.tokens):
            log.warning(
                "%s: %d of %d examples are longer than %d tokens and left out: %s",
                *(task.name, self.wanted - len(self.tokens), self.wanted, prepared.limit),
                _limit_in_words(config, prepared.lm),
            )

    def add_to(self, prepared: Prepared, share: TaskShare, count: int, config: TrainConfig) -> None:
        """Draw this task's rows into the epoch and the validation, and write down what was done."""
        name = self.task.name
        taken = take(self.tokens, share, count, config.seed, name)
        held = _validation(self.task, prepared, config)
        prepared.tokens += taken
        if held.gold:
            prepared.validation[name] = held
        fin = self.task.fin
        prepared.tasks.append(
            TaskData(
                task=name,
                rows_hash=dict(fin.get("content_hash") or {"train": digest(self.task.documents("training"))}),
                available=self.available,
                leaks_dropped=0 if config.keep_leaks else self.leaks,
                too_long=self.wanted - len(self.tokens),
                used=len({id(one) for one in taken}),
                per_epoch=count,
                validation=len(held.gold),
                origin=fin.get("data", "real"),
                licence=fin.get("licence"),
                seen=self.task.seen,
            )
        )


def _validation(task: TrainingTask, prepared: Prepared, config: TrainConfig) -> ValidationRows:
    if config.validation is None:
        return ValidationRows((), ())
    gold = [task.gold(document) for document in task.documents("validation")]
    if not gold:
        log.warning("%s has no validation rows: checkpoints are compared by the other tasks alone", task.name)
        return ValidationRows((), ())
    rows = list(zip(task.requests("validation", prepared.lm, prepared.chat), gold, strict=True))
    chosen = draw(rows, min(len(rows), config.validation.rows), config.seed, f"{task.name} validation")
    texts = ["".join(one.args) for requests, _ in chosen for one in requests]
    check_tokens(prepared.lm, prepared.encode(texts) if may_lack_embeddings(prepared.lm) else [], config.model)
    return ValidationRows([requests for requests, _ in chosen], [gold for _, gold in chosen])


def _tokenizer(config: TrainConfig, path: str) -> PromptLM:
    try:
        return PromptLM("fin_hf", {"pretrained": path, "trust_remote_code": config.trust_remote_code})
    except (OSError, ValueError) as error:
        raise FinError(f"model: {config.model}: its tokenizer cannot be loaded ({first_line(error)})") from error


def _chat(config: TrainConfig, lm: Any) -> bool:
    has = lm.tokenizer.chat_template is not None
    if config.chat_template is True and not has:
        raise FinError(f"chat_template: true, but the tokenizer of {config.model} has none: use auto or false")
    return has if config.chat_template == "auto" else bool(config.chat_template)


def _limit(config: TrainConfig, lm: Any) -> int:
    """What fits the training file and the model."""
    return min(config.max_length, lm.positions or config.max_length)


def _limit_in_words(config: TrainConfig, lm: PromptLM) -> str:
    """What keeps longer examples out, and what to do about it."""
    if lm.positions and lm.positions < config.max_length:
        return (
            f"the model has {lm.positions} positions, and a larger max_length (now {config.max_length}) adds none: "
            "use a model of longer texts"
        )
    return f"raise max_length (now {config.max_length})"
