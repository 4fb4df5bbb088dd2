"""Sums over all parts of a run, saved in each checkpoint. The file is written last and marks a complete checkpoint."""

import json
import shutil
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object
from transformers import TrainerCallback

from fin_plugins.training.machine import peak_memory
from fin_plugins.training.train_record import write_text

CHECKPOINTS = "checkpoints"
"""Folder of the checkpoints within the folder of a run."""
_FILE = "fin.json"
_COUNTS = ("examples", "tokens", "computed")


def now() -> str:
    """The current time in ISO form with zone."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass
class RunStats:
    """Sums over all parts of a run and all processes.

    Attributes:
        examples: examples trained on.
        tokens: their tokens, without padding.
        computed: positions that went through the model.
        seconds: wall time.
        resumed: number of times the run was resumed.
        peak: maximum memory in bytes by kind, of the first process.
        started: ISO time of the first part.
    """

    examples: int = 0
    tokens: int = 0
    computed: int = 0
    seconds: float = 0.0
    resumed: int = 0
    peak: dict[str, int] = field(default_factory=dict)
    started: str = field(default_factory=now)

    def count(self, examples: int, tokens: int, computed: int) -> None:
        """Add a batch."""
        self.examples += examples
        self.tokens += tokens
        self.computed += computed


class RunStatsCallback(TrainerCallback):
    """Saves the stats in each checkpoint, summed over all processes, and removes older checkpoints.

    transformers would remove old checkpoints before the new one is marked as complete, and remove the last one when
    training ends or is stopped, so that a run would resume from its best checkpoint.
    """

    def __init__(self, stats: RunStats) -> None:
        """Save `stats`; its time runs from now on."""
        self.stats = stats
        self._before = replace(stats)
        self._start = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Correct the path of the best checkpoint, in case the folder was moved."""
        if state.best_global_step:
            best = _checkpoint(args, state.best_global_step)
            if best.is_dir():
                state.best_model_checkpoint = str(best)
            else:  # choose among the checkpoints to come
                state.best_model_checkpoint = state.best_global_step = state.best_metric = None

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the checkpoint as complete, then remove all others except the best."""
        total = self.total()
        if state.is_world_process_zero:
            latest = _checkpoint(args, state.global_step)
            write_text(latest / _FILE, json.dumps(asdict(total)))
            keep = {latest.name, _checkpoint(args, state.best_global_step or state.global_step).name}
            for folder in Path(args.output_dir).glob("checkpoint-*"):
                if folder.name not in keep:
                    shutil.rmtree(folder)

    def total(self) -> RunStats:
        """The stats so far over all processes; all processes must call this together."""
        counts = [tuple(getattr(self.stats, name) - getattr(self._before, name) for name in _COUNTS)]
        if PartialState().num_processes > 1:
            counts = gather_object(counts)
        total = replace(
            self._before,
            seconds=self._before.seconds + time.monotonic() - self._start,
            peak={kind: max(size, self._before.peak.get(kind, 0)) for kind, size in peak_memory().items()},
        )
        for process_counts in counts:
            total.count(*process_counts)
        return total


def last_checkpoint(folder: Path) -> tuple[Path, RunStats] | None:
    """The newest complete checkpoint and its stats; None if there is none."""
    complete = [checkpoint for checkpoint in folder.glob("checkpoint-*") if (checkpoint / _FILE).is_file()]
    if not complete:
        return None
    newest = max(complete, key=lambda checkpoint: int(checkpoint.name.rpartition("-")[2]))
    stats = RunStats(**json.loads((newest / _FILE).read_text(encoding="utf-8")))
    stats.resumed += 1
    return newest, stats


def remove_incomplete_checkpoints(folder: Path) -> None:
    """Remove checkpoints that a killed run left half-written."""
    for checkpoint in folder.glob("checkpoint-*"):
        if not (checkpoint / _FILE).is_file():
            shutil.rmtree(checkpoint)


def _checkpoint(args: Any, step: int) -> Path:
    return Path(args.output_dir) / f"checkpoint-{step}"
