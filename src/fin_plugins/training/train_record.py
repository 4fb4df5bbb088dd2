"""The record of a training run, `train.json` beside the adapter: enough to judge the run and to repeat it."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fin_plugins.common.atomic import write_file
from fin_plugins.common.errors import FinError
from fin_plugins.training.machine import command_line, commit, hardware, versions
from fin_plugins.training.train_config import TrainConfig, warm_up_steps

if TYPE_CHECKING:
    from fin_plugins.training.run_stats import RunStats
    from fin_plugins.training.training_data import TrainingData

FILE = "train.json"
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """The rows of one task.

    Attributes:
        task: lm-eval's name of the task.
        rows_hash: sha256 of the rows, by split (`train`, `validation`, and `test` if it was checked for leaks).
        available: number of train rows.
        leaks_dropped: train rows left out because their text occurs in a test set.
        too_long: train rows left out because they exceed the maximum length.
        used: distinct train rows trained on.
        per_epoch: examples per epoch, with repeats.
        validation: validation rows scored at each checkpoint.
        origin: `real` rows, or the bundled `sample` rows.
        licence: licence of the data; None if unknown.
        seen: whether the task is marked as seen; None if it is not marked.
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
    """The general instructions mixed in.

    Attributes:
        source: `replay.source` of the training file.
        used: number of examples.
        hash: sha256 of the examples.
    """

    source: str
    used: int
    hash: str


@dataclass(frozen=True, kw_only=True)
class LossPoint:
    """One step of training; numbers that are not finite become null in the file.

    Attributes:
        step: optimizer steps done, from 1.
        epoch: passes over the data done.
        loss: mean over the counted tokens, in nats.
        learning_rate: learning rate of this step.
        grad_norm: norm of the gradient before clipping.
    """

    step: int
    epoch: float
    loss: float | None
    learning_rate: float | None = None
    grad_norm: float | None = None


@dataclass(frozen=True, kw_only=True)
class ValidationPoint:
    """One validation.

    Attributes:
        step: optimizer steps done.
        epoch: passes over the data done.
        mean: mean over the tasks of the metric that compares checkpoints.
        tasks: metrics by name, by task.
    """

    step: int
    epoch: float
    mean: float | None
    tasks: dict[str, dict[str, float | None]]


@dataclass(frozen=True, kw_only=True)
class TrainRecord:
    """A training run.

    Attributes:
        name: name of the run.
        config: the training file with all defaults filled in; paths as the user typed them.
        tasks: the rows of each task.
        replay: general instructions mixed in, if any.
        versions: versions of Python and the libraries.
        hardware: see `machine.hardware`.
        seed: seed of sampling, shuffling and initialisation.
        method: `lora`, `rslora`, `dora`, `qlora` or `full`.
        trainable_parameters: number of trained weights.
        total_parameters: number of all weights, including the adapter's.
        steps: optimizer steps done.
        planned_steps: optimizer steps without early stopping; None in old records.
        examples_seen: examples trained on, counted each time.
        tokens_seen: their tokens, without padding; a shared prompt counts for each of its examples.
        tokens_computed: positions that went through the model, with padding.
        loss_curve: the steps.
        validation_curve: the validations.
        best_step: step of the published checkpoint; None without validation.
        wall_seconds: time of training, validation and checkpoints, over all resumed parts.
        resumed: number of times the run resumed from a checkpoint.
        peak_memory_bytes: see `machine.peak_memory`; the maximum over all parts.
        commit: see `machine.commit`.
        started: ISO time with zone, of the first part.
        ended: ISO time with zone.
        allow_unseen: whether tasks marked as unseen were allowed.
        keep_leaks: whether train rows whose text occurs in a test set were kept.
        leaks_unchecked: tasks whose test rows were not on the machine, so train rows were not compared with them.
        command_line: the command as typed.
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
    loss_curve: list[LossPoint]
    validation_curve: list[ValidationPoint]
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
        """Tokens without padding per second of wall time; None if no time was measured."""
        return self.tokens_seen / self.wall_seconds if self.wall_seconds > 0 else None

    @property
    def warm_up_steps(self) -> int:
        """Optimizer steps of the warm-up."""
        total = self.planned_steps or self.steps
        return warm_up_steps(self.config["scheduler"], self.config["warmup_ratio"], total)


def build_record(
    config: TrainConfig, name: str, trainer: Any, data: "TrainingData", replay: ReplayData | None, stats: "RunStats"
) -> TrainRecord:
    """The record of a run whose training has ended.

    Args:
        config: the training file, without any `auto`.
        name: name of the run.
        trainer: the trainer.
        data: its data.
        replay: general instructions mixed in, if any.
        stats: sums over all parts of the run.
    """
    from fin_plugins.training.run_stats import now

    state = trainer.state
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in trainer.model.parameters()]
    return TrainRecord(
        name=name,
        config=config.model_dump(mode="json"),
        tasks=data.tasks,
        replay=replay,
        versions=versions(),
        hardware=hardware(),
        seed=config.seed,
        method=config.method,
        trainable_parameters=sum(size for size, trainable in sizes if trainable),
        total_parameters=sum(size for size, _ in sizes),
        steps=state.global_step,
        planned_steps=state.max_steps,
        examples_seen=stats.examples,
        tokens_seen=stats.tokens,
        tokens_computed=stats.computed,
        loss_curve=_loss_curve(state.log_history),
        validation_curve=_validation_curve(state.log_history, config, [task.task for task in data.tasks]),
        best_step=state.best_global_step if data.validation else None,
        wall_seconds=stats.seconds,
        resumed=stats.resumed,
        peak_memory_bytes=stats.peak,
        commit=commit(),
        started=stats.started,
        ended=now(),
        allow_unseen=config.allow_unseen,
        keep_leaks=config.keep_leaks,
        leaks_unchecked=data.unchecked,
        command_line=command_line(),
    )


def write_record(record: TrainRecord, folder: Path) -> Path:
    """Write `train.json` atomically, in strict JSON: numbers that are not finite become null.

    Returns:
        The file.

    Raises:
        FinError: it cannot be written.
    """
    content = {"schema": SCHEMA, **asdict(record), "tokens_per_second": record.tokens_per_second}
    text = json.dumps(_json_value(content), allow_nan=False, ensure_ascii=False, indent=1)
    write_text(folder / FILE, text + "\n")
    return folder / FILE


def write_text(file: Path, text: str) -> None:
    """Write a file of an output folder atomically.

    Raises:
        FinError: it cannot be written.
    """
    try:
        write_file(file, text)
    except OSError as error:
        reason = error.strerror or error
        raise FinError(f"{file}: cannot be written ({reason}): free some space or change `output`") from error


def _loss_curve(log: Sequence[dict[str, Any]]) -> list[LossPoint]:
    return [
        LossPoint(
            step=entry["step"],
            epoch=entry["epoch"],
            loss=entry["loss"],
            learning_rate=entry.get("learning_rate"),
            grad_norm=entry.get("grad_norm"),
        )
        for entry in log
        if "loss" in entry
    ]


def _validation_curve(
    log: Sequence[dict[str, Any]], config: TrainConfig, tasks: Sequence[str]
) -> list[ValidationPoint]:
    """The validations in the trainer's log; the first one is of the base model."""
    if config.validation is None:
        return []
    mean = f"eval_{config.validation.metric}"
    return [
        ValidationPoint(
            step=entry["step"],
            epoch=entry.get("epoch", 0.0),
            mean=entry[mean],
            tasks={task: metrics for task in tasks if (metrics := _task_metrics(entry, task))},
        )
        for entry in log
        if mean in entry
    ]


def _task_metrics(entry: dict[str, Any], task: str) -> dict[str, float | None]:
    prefix = f"eval_{task}/"
    return {name.removeprefix(prefix): value for name, value in entry.items() if name.startswith(prefix)}


def _json_value(value: Any) -> Any:
    """The value in JSON's types; numbers that are not finite become None."""
    if isinstance(value, dict):
        return {str(name): _json_value(child) for name, child in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(child) for child in value]
    if isinstance(value, str):  # a command line may hold bytes that are not UTF-8
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, bool | int | None):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return _json_value(value.item()) if hasattr(value, "item") else str(value)
