"""What a run has done so far, kept in every checkpoint; it is written last, so it says that the checkpoint is whole."""

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

from fin_plugins.training.report.machine import peak_memory
from fin_plugins.training.report.record import write_text

CHECKPOINTS = "checkpoints"
"""Folder of a run's checkpoints, in that of the run."""
_MARK = "fin.json"


def now() -> str:
    """The time, in ISO form with zone."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass
class Ledger:
    """Sums over all parts of a run, of all processes.

    Attributes:
        examples: examples that went through training.
        tokens: their tokens, without padding.
        computed: positions that went through the model.
        seconds: wall time.
        resumed: times the run was resumed.
        peak: largest memory of any part, bytes by kind; of the first process.
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


class Keeper(TrainerCallback):
    """Writes the ledger into each checkpoint, the counts of all processes in it, and removes those before it.

    transformers would remove them before this one is marked as whole, and the last one when training ends or is
    stopped, so that the same command went on from the best.
    """

    def __init__(self, ledger: Ledger) -> None:
        """Keep `ledger`, whose time runs from now on."""
        self.ledger = ledger
        self._before = replace(ledger)
        self._began = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Find the best checkpoint where it is now: its path was written down before the folder was moved."""
        if state.best_global_step:
            best = _checkpoint(args, state.best_global_step)
            if best.is_dir():
                state.best_model_checkpoint = str(best)
            else:  # so what is kept is chosen among those to come
                state.best_model_checkpoint = state.best_global_step = state.best_metric = None

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the checkpoint as whole, and only then remove those before it: all but the best and this one."""
        total = self.total()
        if state.is_world_process_zero:
            saved = _checkpoint(args, state.global_step)
            write_text(saved / _MARK, json.dumps(asdict(total)))
            wanted = {saved.name, _checkpoint(args, state.best_global_step or state.global_step).name}
            for folder in Path(args.output_dir).glob("checkpoint-*"):
                if folder.name not in wanted:
                    shutil.rmtree(folder)

    def total(self) -> Ledger:
        """The ledger up to now, over all processes; to be asked by all of them."""
        counts = [(self._since("examples"), self._since("tokens"), self._since("computed"))]
        if PartialState().num_processes > 1:
            counts = gather_object(counts)
        peak = peak_memory()
        total = replace(
            self._before,
            seconds=self._before.seconds + time.monotonic() - self._began,
            peak={kind: max(size, self._before.peak.get(kind, 0)) for kind, size in peak.items()},
        )
        for one in counts:
            total.count(*one)
        return total

    def _since(self, name: str) -> int:
        return int(getattr(self.ledger, name) - getattr(self._before, name))


def last_whole(folder: Path) -> tuple[Path, Ledger] | None:
    """The newest whole checkpoint and its ledger; None where there is none."""
    whole = [found for found in folder.glob("checkpoint-*") if (found / _MARK).is_file()]
    if not whole:
        return None
    newest = max(whole, key=_step)
    ledger = Ledger(**json.loads((newest / _MARK).read_text(encoding="utf-8")))
    ledger.resumed += 1
    return newest, ledger


def drop_partial(folder: Path) -> None:
    """Remove checkpoints that a kill left half-written."""
    for found in folder.glob("checkpoint-*"):
        if not (found / _MARK).is_file():
            shutil.rmtree(found)


def _checkpoint(args: Any, step: int) -> Path:
    return Path(args.output_dir) / f"checkpoint-{step}"


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
