"""Replayed conversations as training examples."""

from pathlib import Path
from typing import Any

from accelerate import PartialState

from fin_plugins.common.hashing import digest
from fin_plugins.training.config import TrainConfig
from fin_plugins.training.examples import Tokens, conversation_example
from fin_plugins.training.prepare import Prepared
from fin_plugins.training.replay.own import self_replay
from fin_plugins.training.replay.source import Conversation, read_replay
from fin_plugins.training.report.record import ReplayData


def replayed(config: TrainConfig, base: Any, prepared: Prepared, work: Path) -> tuple[list[Tokens], ReplayData]:
    """The replay examples of an epoch, and what is recorded of them.

    Args:
        config: the training file, with a `replay`.
        base: the base model, without an adapter; with `source: self` it answers instructions first.
        prepared: the task examples, whose number the ratio is of.
        work: folder of the checkpoints; the base's answers are kept there for a run that goes on.

    Raises:
        FinError: the source cannot be read.
    """
    assert config.replay is not None
    wanted = max(1, round(config.replay.ratio * len(prepared.tokens)))
    if config.replay.source == "self":
        with PartialState().main_process_first():  # the others read what it wrote
            cache = work / "self-replay.jsonl"
            found = self_replay(base, prepared.lm.tokenizer, config.replay, wanted, config.seed, cache)
    else:
        found = read_replay(config.replay, wanted, config.seed)
    tokens = prepared.tokenise([_example(one, prepared) for one in found], config.loss)
    content = digest([[one.ids, one.labels] for one in tokens])
    return tokens, ReplayData(source=config.replay.source, used=len(tokens), hash=content)


def _example(conversation: Conversation, prepared: Prepared) -> Any:
    end = prepared.end if conversation.complete else ""
    return conversation_example(conversation.messages, prepared.lm, prepared.chat, end)
