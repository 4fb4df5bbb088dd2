"""General conversations to replay during training, read from a file or a hub data set."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from fin_plugins.common.errors import FinError, first_line
from fin_plugins.tasks.documents import escape_control_tokens
from fin_plugins.training.train_config import Replay

log = logging.getLogger(__name__)

# Names of roles: ShareGPT's and the usual ones.
_ROLES = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant", "system": "system"}


@dataclass(frozen=True)
class Conversation:
    """A conversation whose last answer is trained on.

    Attributes:
        messages: `role` (system, user or assistant) and `content` of each; the last one is the assistant's.
        complete: False if the last answer is truncated, so that no end of turn must follow it.
    """

    messages: tuple[dict[str, str], ...]
    complete: bool = True


def read_replay(replay: Replay, count: int, seed: int) -> list[Conversation]:
    """Sample conversations from the file or hub data set that `replay.source` names.

    No row repeats before all have been used; a warning says if rows repeat. With the same seed, a longer sample begins
    with the shorter one. All rows of a file are checked; of a data set only the sampled ones.

    Args:
        replay: the setting; its source is not `self`.
        count: number of conversations.
        seed: seed of the sample.

    Raises:
        FinError: the source cannot be read, is empty, or has a row that is not a conversation.
    """
    file = is_file(replay.source)
    rows = read_rows(Path(replay.source).expanduser()) if file else _HubDataset(replay.source, replay.split)
    conversations = [parse_conversation(row, place) for place, row in rows] if file else None
    if not len(rows):
        raise FinError(f"replay: {replay.source}: no rows in it")
    if len(rows) < count:
        log.warning("replay: %s has %d rows for %d replay examples: rows repeat", replay.source, len(rows), count)
    indices = sample_indices(len(rows), count, seed)
    if conversations is not None:
        return [conversations[index] for index in indices]
    return [parse_conversation(row, place) for place, row in (rows[index] for index in indices)]


def read_instructions(file: str | None) -> list[str]:
    """The distinct prompts of a .jsonl file, by default of the bundled one.

    Raises:
        FinError: the file cannot be read, or a row has no prompt.
    """
    if file is None:
        with resources.as_file(resources.files(__package__) / "replay_instructions.jsonl") as bundled:
            return read_instructions(str(bundled))
    rows = read_rows(Path(file).expanduser())
    if not rows:
        raise FinError(f"{file}: no instructions in it")
    return list(dict.fromkeys(_instruction(place, row) for place, row in rows))


def is_file(source: str) -> bool:
    """Whether `source` names a file, existing or not, rather than a hub data set."""
    return source.endswith((".jsonl", ".json"))


def sample_indices(size: int, count: int, seed: int) -> list[int]:
    """`count` of the numbers below `size`, in shuffled rounds: none repeats before all have been used."""
    rng = np.random.default_rng(seed)
    rounds = [rng.permutation(size) for _ in range(-(-count // size))]
    return [int(index) for index in np.concatenate(rounds)[:count]] if rounds else []


def read_rows(path: Path) -> list[tuple[str, Any]]:
    """The rows of a .jsonl file, or of a .json file that holds one list, each with its place for error messages.

    Raises:
        FinError: the file cannot be read or is invalid JSON.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FinError(f"{path}: cannot be read ({error.strerror}): name an existing .jsonl or .json file") from error
    except UnicodeDecodeError as error:
        raise FinError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8") from error
    if path.suffix == ".jsonl":  # not splitlines(), which also splits at U+2028, which JSON may contain
        lines = [(f"{path}:{number}", line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
        return [(place, _parse_json(place, line)) for place, line in lines]
    rows = _parse_json(str(path), text)
    if not isinstance(rows, list):
        raise FinError(f"{path}: holds no list: write [row, row, ...], or one row per line into a .jsonl file")
    return [(f"{path}: row {number}", row) for number, row in enumerate(rows, start=1)]


def parse_conversation(row: Any, place: str) -> Conversation:
    """Parse a row; control tokens in its texts are escaped.

    A row has `prompt` and `response`; or `instruction`, optionally `input`, and `output`; or `messages` with `role` and
    `content`; or `conversations` with `from` and `value`. Turns after the last answer are dropped. `complete: false`
    marks a truncated answer.

    Args:
        row: parsed JSON.
        place: file and line, for error messages.

    Raises:
        FinError: the row has none of these forms, or a text is missing or empty.
    """
    try:
        if not isinstance(row, Mapping):
            raise ValueError("not an object")
        complete = row.get("complete") is not False
        return Conversation(_until_last_answer([_message(role, text) for role, text in _turns(row)]), complete)
    except ValueError as error:
        raise FinError(
            f"{place}: {error}: a row is an object with `prompt` and `response`, `instruction` and `output`, or chat "
            "`messages`"
        ) from error


class _HubDataset(Sequence[tuple[str, Any]]):
    """The rows of a hub data set, read on access, each with its place for error messages."""

    def __init__(self, name: str, split: str) -> None:
        import datasets

        self._name = name
        try:
            self._rows = datasets.load_dataset(name, split=split)
        except Exception as error:  # network, hub and builders have their own error types
            raise FinError(
                f"replay: data set {name}, split {split}: cannot be loaded ({first_line(error)}): check name, split "
                "and connection, or set `source` to a local .jsonl file, or to `self`, which needs no download"
            ) from error

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return f"replay: data set {self._name}: row {index + 1}", self._rows[index]


def _instruction(place: str, row: Any) -> str:
    prompt = row.get("prompt") if isinstance(row, dict) else None
    if not _is_text(prompt):
        raise FinError(f'{place}: no instruction: write {{"prompt": "..."}}')
    return str(prompt).strip()


def _parse_json(place: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FinError(f"{place}: invalid JSON ({error}): correct it") from error


def _turns(row: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    # Data sets leave columns of other formats empty, so a column counts only if it has a value.
    for column, role, text in (("messages", "role", "content"), ("conversations", "from", "value")):
        if row.get(column) is not None:
            return _listed_turns(row[column], column, role, text)
    if row.get("prompt") is not None:
        return [("user", row["prompt"]), ("assistant", row.get("response"))]
    if row.get("instruction") is not None:
        parts = [row["instruction"], *([row["input"]] if row.get("input") else [])]
        if not all(isinstance(part, str) for part in parts):
            raise ValueError("`instruction` and `input` must be text")
        return [("user", "\n\n".join(parts)), ("assistant", row.get("output"))]
    raise ValueError("no prompt")


def _listed_turns(turns: Any, column: str, role: str, text: str) -> list[tuple[Any, Any]]:
    if not isinstance(turns, Sequence) or not all(isinstance(turn, Mapping) for turn in turns):
        raise ValueError(f"`{column}` is not a list of objects")
    return [(turn.get(role), turn.get(text)) for turn in turns]


def _message(role: Any, text: Any) -> dict[str, str]:
    known_role = _ROLES.get(role) if isinstance(role, str) else None
    if known_role is None:
        raise ValueError(f"role {role!r} is none of system, user, assistant (or human, gpt)")
    if not _is_text(text):
        raise ValueError(f"a text of the {known_role} is missing, empty or not Unicode")
    return {"role": known_role, "content": escape_control_tokens(text)}


def _is_text(text: Any) -> bool:
    """Whether `text` is a non-empty string without lone surrogates, which JSON allows and tokenizers reject."""
    return isinstance(text, str) and bool(text.strip()) and not re.search("[\ud800-\udfff]", text)


def _until_last_answer(messages: list[dict[str, str]]) -> tuple[dict[str, str], ...]:
    """The messages up to the last answer, with roles in an order that every chat template accepts."""
    answers = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    used = messages[: answers[-1] + 1] if answers else []
    first = 1 if used and used[0]["role"] == "system" else 0
    if not used or any(m["role"] != ("user", "assistant")[i % 2] for i, m in enumerate(used[first:])):
        raise ValueError("user and assistant do not alternate, after at most one system message")
    return tuple(used)
