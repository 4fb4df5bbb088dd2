"""Test rows that a model was trained on, by the record beside its weights: its scores on them say little."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fin_plugins.data.trained_rows import known_rows, row_hash


def count_trained_on(tasks: Mapping[str, Any], folders: Iterable[Path]) -> dict[str, tuple[int, int]] | None:
    """How many test rows of each task a model was trained on, and of how many; tasks without any are left out.

    Args:
        tasks: lm-eval's task objects by name.
        folders: of the model: its base's, and its adapter's.

    Returns:
        None where no folder has a record of the rows.
    """
    trained = known_rows(*folders)
    if not trained:
        return None
    found = {}
    for name, task in tasks.items():
        documents = list(task.eval_docs)
        count = sum(any(row_hash(text) in trained for text in _texts(task, one)) for one in documents)
        if count:
            found[name] = (count, len(documents))
    return found


def _texts(task: Any, document: Mapping[str, Any]) -> list[str]:
    """What a training run may have recorded of a row: its text, or its whole prompt."""
    text = document.get("text")
    return [*([text] if isinstance(text, str) else []), str(task.doc_to_text(document))]
