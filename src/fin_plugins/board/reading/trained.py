"""Test rows that a model was trained on: said by `fin eval` in the result file, else looked up beside its weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fin_plugins.board.reading.lines import objects
from fin_plugins.board.reading.raw import Raw
from fin_plugins.board.reading.values import Unusable, whole
from fin_plugins.common.foreign_files import get_in
from fin_plugins.data.trained_rows import known_rows, row_hash

_FOLDERS = ("pretrained", "peft", "lora_local_path")


def trained_on(data: Mapping[str, Any], raw: Raw, samples: Path | None) -> str:
    """A sentence that says how many test rows of a task the model was trained on; empty where none, or nobody knows.

    Args:
        data: the result file.
        raw: the task in it.
        samples: its sample file.
    """
    said = get_in(data, "config", "fin", "test_rows_trained_on")
    if isinstance(said, dict):
        count, total = whole(said.get(raw.name)) or 0, raw.total or raw.n
    else:
        count, total = _found(raw, samples), raw.n
    return f"The model was trained on {count} of {total} test rows." if count else ""


def _found(raw: Raw, samples: Path | None) -> int:
    arguments = raw.run.arguments
    folders = [Path(value) for name in _FOLDERS if isinstance(value := arguments.get(name), str) and value]
    if raw.run.names or samples is None or not (hashes := _hashes(folders)):
        return 0
    try:
        texts = {row.get("doc_id"): get_in(row, "doc", "text") for _, row in objects(samples)}
    except (Unusable, TypeError):  # said elsewhere
        return 0
    return sum(isinstance(text, str) and row_hash(text) in hashes for text in texts.values())


def _hashes(folders: list[Path]) -> frozenset[str]:
    try:
        return known_rows(*(folder.expanduser() for folder in folders))
    except (OSError, ValueError, RuntimeError):  # no name of a folder
        return frozenset()
