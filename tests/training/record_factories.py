"""Invented records of training runs."""

import math
from typing import Any

from fin_plugins.training.train_config import TrainConfig
from fin_plugins.training.train_record import LossPoint, ReplayData, TaskData, TrainRecord, ValidationPoint

HASH = "17d26a64ef3e79cdfc05fb5bef37d631bf15b5007237081665d7f5cf1cf44a94"


def config(**changes: Any) -> dict[str, Any]:
    given = {"model": "org/base-1B", "tasks": ["fin_fpb", "fin_fiqa"], "chat_template": True, **changes}
    return TrainConfig(**given).model_dump(mode="json")


def task(name: str = "fin_fpb", **changes: Any) -> TaskData:
    given = {"task": name, "rows_hash": {"train": HASH, "validation": HASH[::-1]}, "available": 3095, "licence": "MIT"}
    counts = {"leaks_dropped": 7, "too_long": 2, "used": 3086, "per_epoch": 6172, "validation": 200}
    return TaskData(**{**given, **counts, "origin": "real", "seen": True, **changes})


def record(**changes: Any) -> TrainRecord:
    about = {"name": "sentiment", "config": config(), "seed": 42, "method": "lora", "commit": "0123abc"}
    data = {"tasks": [task(), task("fin_fiqa")], "replay": ReplayData(source="self", used=310, hash=HASH)}
    size = {"trainable_parameters": 4_884_480, "total_parameters": 139_400_000, "peak_memory_bytes": {"host": 3 << 30}}
    done = {"steps": 450, "examples_seen": 3600, "tokens_seen": 360_000, "tokens_computed": 450_000, "resumed": 0}
    curves = {
        "loss_curve": loss_curve(450),
        "validation_curve": validation_curve(),
        "best_step": 300,
        "wall_seconds": 720.0,
    }
    where = {
        "versions": {"python": "3.11.9"},
        "hardware": {"cpu": "Some CPU", "cores": 2, "memory_gib": 8.0, "gpus": []},
    }
    when = {"started": "2026-01-02T03:04:05+00:00", "ended": "2026-01-02T03:16:05+00:00"}
    allowed = {
        "allow_unseen": False,
        "keep_leaks": False,
        "leaks_unchecked": [],
        "command_line": ["fin", "train", "sentiment.yaml"],
    }
    return TrainRecord(**{**about, **data, **size, **done, **curves, **where, **when, **allowed, **changes})


def loss_curve(steps: int) -> list[LossPoint]:
    """A falling curve with waves."""
    return [
        LossPoint(
            step=n, epoch=n / 225, loss=0.2 + 2.5 * math.exp(-n / 60) + 0.1 * math.sin(n * n), learning_rate=2e-4 / n
        )
        for n in range(1, steps + 1)
    ]


def validation_curve() -> list[ValidationPoint]:
    means = {150: (0.61, 0.55), 300: (0.74, 0.68), 450: (0.72, 0.69)}
    return [
        ValidationPoint(
            step=step,
            epoch=step / 225,
            mean=(first + second) / 2,
            tasks={"fin_fpb": {"macro_f1": first, "acc": 0.8}, "fin_fiqa": {"macro_f1": second, "acc": 0.7}},
        )
        for step, (first, second) in means.items()
    ]
