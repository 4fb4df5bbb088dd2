"""What must be equal for two figures to stand in one column, and how to say where it is not."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fin_plugins.board.model import Conditions
from fin_plugins.board.reading.raw import Raw, Record
from fin_plugins.board.reading.values import digest, without_empty
from fin_plugins.common.foreign_files import get_in

# What the prompt is made of, whatever the model. The prompts themselves will not do: each model's chat template is in
# them. `fewshot_config` and the seed only where there are examples.
_PROMPT = (
    *("doc_to_text", "doc_to_target", "doc_to_choice", "description", "gen_prefix", "target_delimiter"),
    *("generation_kwargs", "filter_list", "output_type"),
)
_SHOTS = ("fewshot_config", "fewshot_delimiter", "fewshot_split")
UNRECORDED = "unrecorded"
"""Stands for the documents where neither samples nor a content hash tell which they were."""


def prompt_hash(config: Mapping[str, Any], data: Mapping[str, Any], shots: int) -> str:
    """Hash over everything that the prompt is made of, other than the document and the model's chat template.

    Args:
        config: the task's entry in `configs`.
        data: the result file.
        shots: few-shot examples.
    """
    parts = {name: config.get(name) for name in _PROMPT}
    parts["system"] = data.get("system_instruction_sha")
    hashed = digest(without_empty(parts))
    return f"{hashed}.{_hash_of_examples(config, data)}" if shots else hashed


def _hash_of_examples(config: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    parts = {name: config.get(name) for name in _SHOTS}
    parts["seed"] = get_in(data, "config", "fewshot_seed")
    # Whether examples are turns of their own means nothing without a chat template.
    parts["turns"] = data.get("fewshot_as_multiturn") if data.get("chat_template") is not None else None
    return digest(without_empty(parts))[:8]


def conditions_of(records: Sequence[Record]) -> list[Conditions]:
    """The conditions of each record.

    A run without samples names its test split by content hash only; where all runs with samples on that content have
    the same documents, it has them too.
    """
    known: dict[tuple[str, ...], set[str]] = {}
    for record in records:
        if record.rows and record.raw.content:
            known.setdefault(_content(record.raw), set()).add(record.rows)
    return [_conditions(record, known) for record in records]


def _conditions(record: Record, known: Mapping[tuple[str, ...], set[str]]) -> Conditions:
    raw, rows = record.raw, record.rows
    if not rows:
        same = known.get(_content(raw), set())
        rows = next(iter(same)) if len(same) == 1 else raw.content[:16] or UNRECORDED
    return Conditions(raw.data, rows, raw.version, raw.prompt, raw.shots, raw.run.chat, raw.limit)


def _content(raw: Raw) -> tuple[str, ...]:
    return (raw.name, raw.content, str(raw.n), str(raw.limit))


def differences(ours: Conditions, others: Iterable[Conditions]) -> list[str]:
    """What sets conditions apart from the others of their task, each as a few words that say how it is here."""
    words = {
        "data": {"real": "the real rows", "sample": "the embedded sample rows"}.get(
            ours.data, "rows of unknown origin"
        ),
        "limit": "all documents" if ours.limit is None else f"{ours.limit} documents only",
        "rows": "unrecorded documents" if ours.rows == UNRECORDED else f"documents {ours.rows[:6]}",
        "version": f"task version {ours.version}",
        "shots": f"{ours.shots} few-shot example{'' if ours.shots == 1 else 's'}",
        "chat": f"{'a' if ours.chat else 'no'} chat template",
        "prompt": f"prompt {ours.prompt[-6:]}",
    }
    differing = {name for other in others for name in words if _differs(name, ours, other)}
    return [text for name, text in words.items() if name in differing]


def _differs(name: str, ours: Conditions, other: Conditions) -> bool:
    """Whether they differ, and not only because of something that is named already."""
    if name == "rows" and (ours.data, ours.limit) != (other.data, other.limit):
        return False
    if name == "prompt" and ours.shots != other.shots:
        return ours.prompt.partition(".")[0] != other.prompt.partition(".")[0]
    return bool(getattr(ours, name) != getattr(other, name))
