"""What a run has done so far, kept in every checkpoint; it is written last, so it says that the checkpoint is whole."""

import json
import shutil
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from fin_plugins.training.machine import peak_memory
from fin_plugins.training.record import write_text

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
        peak: largest memory of any part, bytes by kind.
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
    """Writes the ledger into each checkpoint."""

    def __init__(self, ledger: Ledger) -> None:
        """Keep `ledger`, whose time runs from now on."""
        self.ledger = ledger
        self._before = ledger.seconds
        self._began = time.monotonic()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the checkpoint as whole."""
        self.bring_up_to_date()
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            write_text(folder / _MARK, json.dumps(asdict(self.ledger)))

    def bring_up_to_date(self) -> None:
        """Bring time and peak memory up to now."""
        self.ledger.seconds = self._before + time.monotonic() - self._began
        peak = peak_memory()
        self.ledger.peak = {kind: max(size, self.ledger.peak.get(kind, 0)) for kind, size in peak.items()}


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
