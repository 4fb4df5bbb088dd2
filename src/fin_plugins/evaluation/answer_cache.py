"""The answer cache: one file for each model, task and request type. Metrics are never stored, always computed."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fin_plugins.common.atomic import write_file
from fin_plugins.common.console import say
from fin_plugins.common.errors import FinError
from fin_plugins.common.hashing import digest
from fin_plugins.evaluation.cache_key import SCHEMA, changed_inputs

CACHE_FOLDER = ".fin-eval"
"""Name of the cache below `--output_path`."""


@dataclass(frozen=True)
class CacheEntry:
    """One model's answers to one task's requests of one type. The field names are part of the file format.

    Attributes:
        model: name of the model, for people.
        task: lm-eval's name of the task.
        kind: lm-eval's request type, such as `loglikelihood`.
        answers: one per request, in order: [log-likelihood in nats, is greedy or None if pruned], a float, or a text.
        documents: number of documents.
        truncated: number of documents that did not fit and were truncated.
        about: facts for lm-eval's result file that only the engine knows (`info`, `max_length`, …).
    """

    model: str
    task: str
    kind: str
    answers: list[Any]
    documents: int
    truncated: int = 0
    about: dict[str, Any] = field(default_factory=dict)


class AnswerCache:
    """Cache entries by key, in a folder; without a folder, in memory until the process ends."""

    def __init__(self, folder: Path | None) -> None:
        """Set the folder, which is created only when something is written."""
        self.folder = folder
        self._in_memory: dict[str, CacheEntry] = {}

    def check_writable(self) -> None:
        """Check before the work starts that its answers can be stored.

        Raises:
            FinError: the folder cannot be written.
        """
        if self.folder is not None:
            probe = self.folder / "units" / ".probe"
            write_output(probe, "")
            probe.unlink(missing_ok=True)

    def read(self, key: str, requests: int) -> CacheEntry | None:
        """The entry for a number of requests, or None; a damaged file is reported and treated as missing."""
        if self.folder is None:
            return self._in_memory.get(key)
        file = self._entry_file(key)
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
            if record["key"] != key or record["sha256"] != digest(record["unit"]):
                raise ValueError("its content is not what was written")
            entry = CacheEntry(**record["unit"])
            if len(entry.answers) != requests:
                raise ValueError("it holds another number of answers")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            say(f"{file} is damaged ({error}): its requests are scored again")
            return None
        return entry

    def write(self, key: str, entry: CacheEntry, key_inputs: dict[str, Any]) -> CacheEntry:
        """Store an entry atomically.

        Args:
            key: from `entry_key`.
            entry: the answers.
            key_inputs: the model's, stored so that later changes can be named.

        Returns:
            The entry as `read` returns it: numbers and texts in JSON's types.

        Raises:
            FinError: the file cannot be written.
        """
        fields = json.loads(json.dumps(asdict(entry), default=_to_json))
        if self.folder is None:
            self._in_memory[key] = CacheEntry(**fields)
            return self._in_memory[key]
        model_hash = digest(key_inputs)
        write_output(self._model_file(model_hash), json.dumps(key_inputs, indent=1))
        record = {"schema": SCHEMA, "key": key, "sha256": digest(fields), "unit": fields}
        write_output(self._entry_file(key), json.dumps(record))
        latest = self._latest_file(entry.model, entry.task, entry.kind)
        write_output(latest, json.dumps({"identity": model_hash}))
        return CacheEntry(**fields)

    def changes_since_latest(self, model: str, task: str, kind: str, key_inputs: dict[str, Any]) -> list[str]:
        """Names of the inputs changed since this model last answered this task; empty if it never did."""
        if self.folder is None:
            return []
        try:
            latest = json.loads(self._latest_file(model, task, kind).read_text(encoding="utf-8"))["identity"]
            before = json.loads(self._model_file(latest).read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError):
            return []
        return changed_inputs(before, key_inputs) or ["requests, --prune or --seed"]

    def is_verified(self, model_hash: str) -> bool:
        """Whether a model with this hash has agreed with PEFT on this engine before."""
        return self.folder is not None and (self.folder / "verified" / model_hash).is_file()

    def mark_verified(self, model_hash: str) -> None:
        """Record that the model agrees with PEFT on this engine."""
        if self.folder is not None:
            write_output(self.folder / "verified" / model_hash, "")

    def _entry_file(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / "units" / f"{key}.json"

    def _model_file(self, model_hash: str) -> Path:
        assert self.folder is not None
        return self.folder / "models" / f"{model_hash}.json"

    def _latest_file(self, model: str, task: str, kind: str) -> Path:
        assert self.folder is not None
        return self.folder / "latest" / f"{digest([model, task, kind])}.json"


def write_output(file: Path, text: str) -> None:
    """Write a file below `--output_path` atomically.

    Raises:
        FinError: the file cannot be written.
    """
    try:
        write_file(file, text)
    except OSError as error:
        raise unwritable_output(file.parent, error) from error


def unwritable_output(folder: Path, error: OSError) -> FinError:
    """The error for a folder that results cannot be written to."""
    return FinError(
        f"{folder}: cannot be written ({error.strerror or error}): free some space or give another --output_path"
    )


def _to_json(value: Any) -> Any:
    """Convert a number of numpy or torch to Python's type, and anything else to text, as lm-eval writes it."""
    return value.item() if hasattr(value, "item") else str(value)
