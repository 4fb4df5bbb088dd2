"""What a finished run writes down: record, model card and plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fin_plugins.training.config import TrainConfig
from fin_plugins.training.ledger import Ledger, now
from fin_plugins.training.prepare import Prepared
from fin_plugins.training.report.card import model_card
from fin_plugins.training.report.machine import command_line, commit, hardware, versions
from fin_plugins.training.report.plot import plot
from fin_plugins.training.report.record import Check, Point, Record, ReplayData, write_record, write_text


def write_report(
    config: TrainConfig,
    name: str,
    trainer: Any,
    prepared: Prepared,
    replay: ReplayData | None,
    ledger: Ledger,
    folder: Path,
) -> Record:
    """Write plot, model card and, last, `train.json`, which says that the run is finished.

    Raises:
        FinError: the folder cannot be written.
    """
    record = _record(config, name, trainer, prepared, replay, ledger)
    plot(record, folder / "training.svg")
    write_text(folder / "README.md", model_card(record))
    write_record(record, folder)
    return record


def _record(
    config: TrainConfig, name: str, trainer: Any, prepared: Prepared, replay: ReplayData | None, ledger: Ledger
) -> Record:
    state = trainer.state
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in trainer.model.parameters()]
    return Record(
        name=name,
        config=config.model_dump(mode="json"),
        tasks=prepared.tasks,
        replay=replay,
        versions=versions(),
        hardware=hardware(),
        seed=config.seed,
        method=config.method,
        trainable_parameters=sum(size for size, trained in sizes if trained),
        total_parameters=sum(size for size, _ in sizes),
        steps=state.global_step,
        planned_steps=state.max_steps,
        examples_seen=ledger.examples,
        tokens_seen=ledger.tokens,
        tokens_computed=ledger.computed,
        loss_curve=losses(state.log_history),
        validation_curve=checks(state.log_history, config, [task.task for task in prepared.tasks]),
        best_step=state.best_global_step if prepared.validation else None,
        wall_seconds=ledger.seconds,
        resumed=ledger.resumed,
        peak_memory_bytes=ledger.peak,
        commit=commit(),
        started=ledger.started,
        ended=now(),
        allow_unseen=config.allow_unseen,
        keep_leaks=config.keep_leaks,
        leaks_unchecked=prepared.unchecked,
        command_line=command_line(),
    )


def losses(history: Sequence[dict[str, Any]]) -> list[Point]:
    """The loss curve out of the trainer's log."""
    return [
        Point(
            step=entry["step"],
            epoch=entry["epoch"],
            loss=entry["loss"],
            learning_rate=entry.get("learning_rate"),
            grad_norm=entry.get("grad_norm"),
        )
        for entry in history
        if "loss" in entry
    ]


def checks(history: Sequence[dict[str, Any]], config: TrainConfig, tasks: Sequence[str]) -> list[Check]:
    """The validation curve out of the trainer's log; its first point is the base model's."""
    if config.validation is None:
        return []
    mean = f"eval_{config.validation.metric}"
    return [
        Check(
            step=entry["step"],
            epoch=entry.get("epoch", 0.0),
            mean=entry[mean],
            tasks={task: found for task in tasks if (found := _of_task(entry, task))},
        )
        for entry in history
        if mean in entry
    ]


def _of_task(entry: dict[str, Any], task: str) -> dict[str, float | None]:
    start = f"eval_{task}/"
    return {name.removeprefix(start): value for name, value in entry.items() if name.startswith(start)}
