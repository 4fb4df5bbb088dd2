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
    """Writes the ledger into each checkpoint, the counts of all processes in it."""

    def __init__(self, ledger: Ledger) -> None:
        """Keep `ledger`, whose time runs from now on."""
        self.ledger = ledger
        self._before = replace(ledger)
        self._began = time.monotonic()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the checkpoint as whole."""
        total = self.total()
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            write_text(folder / _MARK, json.dumps(asdict(total)))

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


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
