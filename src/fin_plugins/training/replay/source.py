"""General conversations to replay during training, read from a file or a hub data set."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fin_plugins.common.errors import FinError, first_line
from fin_plugins.tasks.control_tokens import defuse
from fin_plugins.training.config import Replay

log = logging.getLogger(__name__)

# ShareGPT's names of the roles, and the usual ones.
_ROLES = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant", "system": "system"}


@dataclass(frozen=True)
class Conversation:
    """A conversation to train on, the assistant's last answer counting.

    Attributes:
        messages: `role` (system, user or assistant) and `content` each; the last one is the assistant's.
        complete: False where the last answer was cut, so that no end of turn may be trained behind it.
    """

    messages: tuple[dict[str, str], ...]
    complete: bool = True


def read_replay(replay: Replay, wanted: int, seed: int) -> list[Conversation]:
    """Draw conversations from the file or hub data set that `replay.source` names.

    No row comes twice before all came once; where there are fewer than wanted, a warning says so. A longer draw with
    the same seed begins with the shorter one. All rows of a file are checked, of a data set the drawn ones.

    Args:
        replay: the setting; its source is not `self`.
        wanted: conversations to draw.
        seed: of the draw.

    Raises:
        FinError: the source cannot be read, is empty, or has a row that is no conversation.
    """
    file = is_file(replay.source)
    rows = read_rows(Path(replay.source).expanduser()) if file else _Hub(replay.source, replay.split)
    checked = [conversation(row, where) for where, row in rows] if file else None
    if not len(rows):
        raise FinError(f"replay: {replay.source}: no rows in it")
    if len(rows) < wanted:
        log.warning("replay: %s has %d rows for %d replay examples: rows repeat", replay.source, len(rows), wanted)
    drawn = draw(len(rows), wanted, seed)
    if checked is not None:
        return [checked[index] for index in drawn]
    return [conversation(row, where) for where, row in (rows[index] for index in drawn)]


def is_file(source: str) -> bool:
    """Whether `source` names a file, there or not, and no hub data set."""
    return source.endswith((".jsonl", ".json"))


def draw(count: int, wanted: int, seed: int) -> list[int]:
    """`wanted` of the numbers below `count`, in whole shuffled rounds: none comes twice before all came once."""
    rng = np.random.default_rng(seed)
    rounds = [rng.permutation(count) for _ in range(-(-wanted // count))]
    return [int(index) for index in np.concatenate(rounds)[:wanted]] if rounds else []


def read_rows(path: Path) -> list[tuple[str, Any]]:
    """Rows of a .jsonl file, or of a .json file that holds one list, each behind what to call it in a message.

    Raises:
        FinError: the file cannot be read or is no JSON.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FinError(
            f"{path}: cannot be read ({error.strerror}): name a .jsonl or .json file that is there"
        ) from error
    except UnicodeDecodeError as error:
        raise FinError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8") from error
    if path.suffix == ".jsonl":  # not splitlines(), which also splits at U+2028, and JSON may hold that as it is
        lines = [(f"{path}:{number}", line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
        return [(where, _json(where, line)) for where, line in lines]
    rows = _json(str(path), text)
    if not isinstance(rows, list):
        raise FinError(f"{path}: holds no list: write [row, row, ...], or one row a line into a .jsonl file")
    return [(f"{path}: row {number}", row) for number, row in enumerate(rows, start=1)]


def _json(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FinError(f"{where}: no JSON ({error}): mend it") from error


class _Hub(Sequence[tuple[str, Any]]):
    """Rows of a hub data set, each read when it is asked for."""

    def __init__(self, name: str, split: str) -> None:
        import datasets

        self._name = name
        try:
            self._rows = datasets.load_dataset(name, split=split)
        except Exception as error:  # network, hub and builders each raise kinds of their own
            raise FinError(
                f"replay: data set {name}, split {split}: cannot be loaded ({first_line(error)}): check name, split "
                "and connection, or give `source` a local .jsonl file, or `self`, which needs no download"
            ) from error

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return f"replay: data set {self._name}: row {index + 1}", self._rows[index]


def conversation(row: Any, where: str) -> Conversation:
    """A row as a conversation, with control tokens in its texts broken.

    A row has `prompt` and `response`; or `instruction`, perhaps `input`, and `output`; or `messages` of `role` and
    `content`; or `conversations` of `from` and `value`. Turns behind the last answer are left out. `complete: false`
    says that the answer is cut.

    Args:
        row: as JSON gives it.
        where: file and line, for the message.

    Raises:
        FinError: the row is none of these, or a text is missing or empty.
    """
    try:
        if not isinstance(row, Mapping):
            raise ValueError("no object")
        complete = row.get("complete") is not False
        return Conversation(_whole([_message(role, text) for role, text in _turns(row)]), complete)
    except ValueError as error:
        raise FinError(
            f"{where}: {error}: a row is an object with `prompt` and `response`, `instruction` and `output`, or chat "
            "`messages`"
        ) from error


def _turns(row: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    # Data sets leave columns of another format empty, so what counts is a value, not a key.
    for column, role, text in (("messages", "role", "content"), ("conversations", "from", "value")):
        if row.get(column) is not None:
            return _listed(row[column], column, role, text)
    if row.get("prompt") is not None:
        return [("user", row["prompt"]), ("assistant", row.get("response"))]
    if row.get("instruction") is not None:
        parts = [row["instruction"], *([row["input"]] if row.get("input") else [])]
        if not all(isinstance(part, str) for part in parts):
            raise ValueError("`instruction` and `input` must be texts")
        return [("user", "\n\n".join(parts)), ("assistant", row.get("output"))]
    raise ValueError("no prompt")


def _listed(turns: Any, column: str, role: str, text: str) -> list[tuple[Any, Any]]:
    if not isinstance(turns, Sequence) or not all(isinstance(turn, Mapping) for turn in turns):
        raise ValueError(f"`{column}` is no list of objects")
    return [(turn.get(role), turn.get(text)) for turn in turns]


def _message(role: Any, text: Any) -> dict[str, str]:
    known = _ROLES.get(role) if isinstance(role, str) else None
    if known is None:
        raise ValueError(f"role {role!r} is none of system, user, assistant (or human, gpt)")
    if not is_text(text):
        raise ValueError(f"a text of the {known} is missing, empty or not Unicode")
    return {"role": known, "content": defuse(text)}


def is_text(text: Any) -> bool:
    """Whether `text` is text, with something in it that a tokenizer takes."""
    # JSON can hold half a surrogate pair, which no tokenizer takes.
    return isinstance(text, str) and bool(text.strip()) and not re.search("[\ud800-\udfff]", text)


def _whole(messages: list[dict[str, str]]) -> tuple[dict[str, str], ...]:
    """The messages up to the last answer, where the roles are in an order that every chat template takes."""
    answers = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    kept = messages[: answers[-1] + 1] if answers else []
    first = 1 if kept and kept[0]["role"] == "system" else 0
    if not kept or any(m["role"] != ("user", "assistant")[i % 2] for i, m in enumerate(kept[first:])):
        raise ValueError("not user and assistant in turn, behind one system message at most")
    return tuple(kept)
