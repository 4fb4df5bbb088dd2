"""The honest record of a training run: `train.json` beside the adapter, enough to judge the run and to repeat it."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from fin_plugins.common.atomic import write_file
from fin_plugins.common.errors import FinError
from fin_plugins.common.foreign_files import UnreadableFile, read_json

FILE = "train.json"
SCHEMA = 1
_LARGEST = 256 << 20


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """The rows of one task.

    Attributes:
        task: lm-eval's name of the task.
        rows_hash: sha256 of the rows, by split (`train`, `validation`, and `test` where it was looked at for leaks).
        available: train rows there were.
        leaks_dropped: train rows left out because their text stands in a test set.
        too_long: train rows left out because they exceed the maximum length.
        used: different train rows trained on.
        per_epoch: examples made of them an epoch, repeats included.
        validation: validation rows scored at each checkpoint.
        origin: `real` rows, or the `sample` rows that come with the package.
        licence: what the data's card says of its licence; None where no card is known.
        seen: whether the task is one a model may be trained on; None where nothing marks it.
    """

    task: str
    rows_hash: dict[str, str]
    available: int
    leaks_dropped: int
    too_long: int
    used: int
    per_epoch: int
    validation: int
    origin: Literal["real", "sample"]
    licence: str | None = None
    seen: bool | None = None


@dataclass(frozen=True, kw_only=True)
class ReplayData:
    """The general instructions mixed in: `source` as in the training file, examples used, sha256 of them."""

    source: str
    used: int
    hash: str


@dataclass(frozen=True, kw_only=True)
class Point:
    """One logged step of training. A number that was not finite (a run gone wrong) is None once read back.

    Attributes:
        step: optimizer steps done, from 1.
        epoch: passes over the data done.
        loss: mean over the tokens that count, in nats.
        learning_rate: the one this step used.
        grad_norm: before clipping.
    """

    step: int
    epoch: float
    loss: float | None
    learning_rate: float | None = None
    grad_norm: float | None = None


@dataclass(frozen=True, kw_only=True)
class Check:
    """One validation: `mean` of the configured metric over the tasks, and each task's metrics by name."""

    step: int
    epoch: float
    mean: float | None
    tasks: dict[str, dict[str, float | None]]


@dataclass(frozen=True, kw_only=True)
class Record:
    """A training run.

    Attributes:
        name: of the run, for people.
        config: the training file with every default filled in; file names as the user typed them.
        tasks: the rows of each task.
        replay: general instructions mixed in, if any.
        versions: of Python and the libraries.
        hardware: as `machine.hardware` gives it.
        seed: of drawing, shuffling and initialisation.
        method: `lora`, `rslora`, `dora`, `qlora` or `full`.
        trainable_parameters: numbers that training could change.
        total_parameters: all of the model's, the adapter's included.
        steps: optimizer steps done.
        planned_steps: optimizer steps that would have been done without early stopping; None in a record of fin-plugins
            before it was kept.
        examples_seen: examples that went through training, each time it did.
        tokens_seen: their tokens, without padding; a shared prompt counts for every example that has it.
        tokens_computed: positions that were really put through the model, padding included.
        loss_curve: the logged steps.
        validation_curve: the validations.
        best_step: step of the checkpoint that was kept; None without validation.
        wall_seconds: of training with its validations and checkpoints, all resumed parts together.
        resumed: how many times the run was resumed from a checkpoint.
        peak_memory_bytes: as `machine.peak_memory` gives it; the largest of all parts.
        commit: as `machine.commit` gives it.
        started: ISO time with zone, of the first part.
        ended: ISO time with zone.
        allow_unseen: tasks marked unseen were allowed.
        keep_leaks: train rows whose text stands in a test set were kept.
        leaks_unchecked: tasks whose test rows were not on the machine, so that nothing was compared with them.
        command_line: what was typed.
    """

    name: str
    config: dict[str, Any]
    tasks: list[TaskData]
    replay: ReplayData | None
    versions: dict[str, str]
    hardware: dict[str, Any]
    seed: int
    method: str
    trainable_parameters: int
    total_parameters: int
    steps: int
    examples_seen: int
    tokens_seen: int
    tokens_computed: int
    loss_curve: list[Point]
    validation_curve: list[Check]
    best_step: int | None
    wall_seconds: float
    resumed: int
    peak_memory_bytes: dict[str, int]
    commit: str | None
    started: str
    ended: str
    allow_unseen: bool
    keep_leaks: bool
    leaks_unchecked: list[str]
    command_line: list[str]
    planned_steps: int | None = None

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens seen a second of wall time, so without padding; None where no time was measured."""
        return self.tokens_seen / self.wall_seconds if self.wall_seconds > 0 else None


def write_record(record: Record, folder: Path) -> Path:
    """Write `train.json`, whole or not at all, in strict JSON: what is not finite becomes null.

    Returns:
        The file.

    Raises:
        FinError: it cannot be written.
    """
    content = {"schema": SCHEMA, **asdict(record), "tokens_per_second": record.tokens_per_second}
    text = json.dumps(_plain(content), allow_nan=False, ensure_ascii=False, indent=1)
    write_text(folder / FILE, text + "\n")
    return folder / FILE


def write_text(file: Path, text: str) -> None:
    """Write a file of the output folder whole or not at all.

    Raises:
        FinError: it cannot be written.
    """
    try:
        write_file(file, text)
    except OSError as error:
        reason = error.strerror or error
        raise FinError(f"{file}: cannot be written ({reason}): free some space or change `output`") from error


def read_record(folder: Path) -> Record:
    """The record in `folder`; a number that was not finite is None.

    Raises:
        FinError: there is none, or it is not one that this version reads.
    """
    file = folder / FILE
    try:
        content = read_json(file, _LARGEST)
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise ValueError(f"its schema is not {SCHEMA}")
        return TypeAdapter(Record).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise FinError(f"{file}: no record of a training run ({place}: {first['msg']})") from error
    except (UnreadableFile, ValueError) as error:
        reason = error.reason if isinstance(error, UnreadableFile) else error
        raise FinError(f"{file}: no record of a training run can be read here ({reason})") from error


def _plain(value: Any) -> Any:
    """The value in JSON's types: numpy's and torch's numbers as Python's, what is not finite as None."""
    if isinstance(value, dict):
        return {str(name): _plain(below) for name, below in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(below) for below in value]
    if isinstance(value, str):  # a command line may hold bytes that are no text, which UTF-8 cannot take
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, bool | int | None):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return _plain(value.item()) if hasattr(value, "item") else str(value)
