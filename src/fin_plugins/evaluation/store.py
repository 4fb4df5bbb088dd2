"""Answers on disk, one file for each unit of work: one model on one task. Metrics are never stored, always computed."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fin_plugins.common.atomic import write_file
from fin_plugins.common.console import say
from fin_plugins.common.errors import FinError
from fin_plugins.common.hashing import digest
from fin_plugins.evaluation.identity import changed

SCHEMA = 1
FOLDER = ".fin-eval"


@dataclass(frozen=True)
class Unit:
    """The answers of one model to one task's requests of one type.

    Attributes:
        model: name of the model, for people.
        task: lm-eval's name of the task.
        kind: lm-eval's request type, such as `loglikelihood`.
        answers: one a request, in order: [log-likelihood in nats, is greedy or None where pruned], a float, or a text.
        documents: number of documents asked about.
        truncated: how many of them were cut because they did not fit.
        about: what lm-eval writes about the model into a result file (`info`, `max_length`, …), which only the engine
            knows.
    """

    model: str
    task: str
    kind: str
    answers: list[Any]
    documents: int
    truncated: int = 0
    about: dict[str, Any] = field(default_factory=dict)


def unit_key(identity: str, task: str, kind: str, requests: Iterable[Sequence[Any]], settings: dict[str, Any]) -> str:
    """The key of a unit: the sha256 of all its answers depend on.

    Args:
        identity: digest of the model's ingredients.
        task: lm-eval's name of the task.
        kind: lm-eval's request type.
        requests: the arguments of every request, in order.
        settings: what else the answers depend on: pruning, the seeds of generation.
    """
    asked = [list(arguments) for arguments in requests]
    return digest([SCHEMA, identity, task, kind, asked, settings])


class Store:
    """Units by key, in a folder; without a folder, in memory until the process ends."""

    def __init__(self, folder: Path | None) -> None:
        """Take the folder; nothing is written yet, for where all is there nothing needs to be."""
        self.folder = folder
        self._kept: dict[str, Unit] = {}

    def check_writable(self) -> None:
        """Find out before the work and not after it.

        Raises:
            FinError: nothing can be written there.
        """
        if self.folder is not None:
            probe = self.folder / "units" / ".probe"
            write(probe, "")
            probe.unlink(missing_ok=True)

    def read(self, key: str, requests: int) -> Unit | None:
        """The unit, or None where it is not there; a damaged file counts as not there, and it says so."""
        if self.folder is None:
            return self._kept.get(key)
        file = self._file(key)
        try:
            text = file.read_text(encoding="utf-8")
            record = json.loads(text)
            if record["key"] != key or record["sha256"] != digest(record["unit"]):
                raise ValueError("its content is not what was written")
            unit = Unit(**record["unit"])
            if len(unit.answers) != requests:
                raise ValueError("it holds another number of answers")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            say(f"{file} is damaged ({error}): its answers are asked again")
            return None
        return unit

    def write(self, key: str, unit: Unit, made_with: dict[str, Any]) -> Unit:
        """Keep a unit; from then on it is there, whole, whatever happens to this process.

        Args:
            key: of `unit_key`.
            unit: the answers.
            made_with: the model's ingredients, kept to tell later what has changed.

        Returns:
            The unit as `read` gives it: numbers and texts in JSON's types.

        Raises:
            FinError: it cannot be written.
        """
        plain = json.loads(json.dumps(asdict(unit), default=_plain))
        if self.folder is None:
            self._kept[key] = Unit(**plain)
            return self._kept[key]
        identity = digest(made_with)
        write(self.folder / "models" / f"{identity}.json", json.dumps(made_with, indent=1))
        record = {"schema": SCHEMA, "key": key, "sha256": digest(plain), "unit": plain}
        write(self._file(key), json.dumps(record))
        write(self._latest(unit), json.dumps({"identity": identity}))
        return Unit(**plain)

    def why_missing(self, model: str, task: str, kind: str, made_with: dict[str, Any]) -> list[str]:
        """What has changed since this model last answered this task: names of ingredients; empty where it never did."""
        if self.folder is None:
            return []
        try:
            latest = json.loads(self._latest(Unit(model, task, kind, [], 0)).read_text(encoding="utf-8"))["identity"]
            before = json.loads((self.folder / "models" / f"{latest}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError):
            return []
        return changed(before, made_with) or ["requests, --prune or --seed"]

    def verified(self, identity: str) -> bool:
        """Whether a model with these ingredients agreed with PEFT on this engine before."""
        return self.folder is not None and (self.folder / "verified" / identity).is_file()

    def mark_verified(self, identity: str) -> None:
        """Remember that it did."""
        if self.folder is not None:
            write(self.folder / "verified" / identity, "")

    def _file(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / "units" / f"{key}.json"

    def _latest(self, unit: Unit) -> Path:
        assert self.folder is not None
        return self.folder / "latest" / f"{digest([unit.model, unit.task, unit.kind])}.json"


def write(file: Path, text: str) -> None:
    """Write a file whole or not at all.

    Raises:
        FinError: it cannot be written.
    """
    try:
        write_file(file, text)
    except OSError as error:
        raise cannot_write(file.parent, error) from error


def cannot_write(folder: Path, error: OSError) -> FinError:
    """The error that says where results cannot be written, why, and what to do."""
    return FinError(
        f"{folder}: cannot be written ({error.strerror or error}): free some space or give another --output_path"
    )


def _plain(value: Any) -> Any:
    """A number of numpy or torch as Python's own; anything else as text, as lm-eval writes it."""
    return value.item() if hasattr(value, "item") else str(value)
