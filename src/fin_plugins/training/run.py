"""A training run from its file to the adapter: one function a stage."""

import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.common.atomic import remove_unfinished_files
from fin_plugins.common.errors import FinError
from fin_plugins.common.file_lock import FILE as LOCK
from fin_plugins.common.file_lock import exclusive
from fin_plugins.training.config import TrainConfig

if TYPE_CHECKING:
    from fin_plugins.training.prepare import Prepared

log = logging.getLogger(__name__)

_RUN = "run.json"
_DONE = "train.json"
# What a finished run may differ in and still be the run that is asked for.
_NO_PART = ("output", "merge")


@dataclass(frozen=True)
class TrainResult:
    """What a run left.

    Attributes:
        folder: of the adapter or checkpoint.
        record: as in `train.json`.
        merged: folder of the merged checkpoint, if one was asked for.
        base: folder or hub name of the base model.
    """

    folder: Path
    record: dict[str, Any]
    merged: Path | None
    base: str


def train(config: TrainConfig, name: str, *, fresh: bool = False) -> TrainResult:
    """Train, or go on where a stopped run of the same configuration and data was, or take what is finished.

    Args:
        config: the training file.
        name: of the run; its folder is `results/train/NAME` unless the file says otherwise.
        fresh: throw away what an earlier run left in the folder.

    Raises:
        FinError: something is wrong with configuration, data, model or machine, or another run's files are in the way.
        KeyboardInterrupt: stopped by Ctrl-C; a checkpoint is there.
    """
    from accelerate import PartialState
    from transformers.utils import logging as transformers_logging

    from fin_plugins.training import model as models
    from fin_plugins.training.fit import fit
    from fin_plugins.training.prepare import prepare

    transformers_logging.disable_progress_bar()  # of reading and writing weights: a second's work
    state = PartialState(cpu=models.device() == "cpu")
    path = models.model_path(config.model)
    models.check_method(config, path)
    folder = Path(config.output or Path("results") / "train" / name)
    # Of many processes one locks, clears and merges: the others would write into the same folder.
    with _alone(folder) if state.is_main_process else nullcontext():
        if state.is_main_process:
            _clear(folder) if fresh else _tidy(folder)
        _say("reading and rendering the rows")
        prepared = prepare(config, path)
        _describe(prepared, config)
        claim(folder, _identity(config, path, prepared), write=state.is_main_process)
        state.wait_for_everyone()
        if not (folder / _DONE).is_file():
            fit(config, name, path, prepared, folder)
        else:
            _say(f"{folder} holds this run, finished; --fresh trains anew")
        wanted = config.merge and config.method != "full"
        merged = _merged(config, path, folder) if wanted and state.is_main_process else None
        state.wait_for_everyone()
    record = json.loads((folder / _DONE).read_text(encoding="utf-8"))
    return TrainResult(folder, record, merged, path)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Be the only `fin train` on a folder; where nothing is to be written, in a finished run's, anybody may be.

    Raises:
        FinError: another one is at work there, or the folder cannot be written.
    """
    if (folder / _DONE).is_file() and not os.access(folder, os.W_OK):
        yield
        return
    made = not folder.exists()
    try:
        with exclusive(folder, "fin train"):
            yield
    finally:
        if made:  # and nothing was written: the rows could not be read
            with suppress(OSError):
                folder.rmdir()


def _tidy(folder: Path) -> None:
    """Remove what a killed run left half-written, and the checkpoints of a finished one, killed before it did so."""
    from fin_plugins.training.ledger import CHECKPOINTS

    remove_unfinished_files(folder)
    if (folder / _DONE).is_file():
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def claim(folder: Path, identity: Mapping[str, Any], *, write: bool = True) -> None:
    """Make the folder this run's, unless another run's files lie there.

    Args:
        folder: of the run.
        identity: what makes a run another one.
        write: leave a note of it.

    Raises:
        FinError: the folder belongs to another run; the message names what differs.
    """
    from fin_plugins.training.report.record import write_text

    file = folder / _RUN
    try:
        there = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    except ValueError:
        there = None  # a kill while the very first file was written: nothing was trained
    if there is None:
        if write:
            write_text(file, json.dumps(identity, indent=1))
        return
    differs = sorted(key for key in {*there, *identity} if there.get(key) != identity.get(key))
    if differs:
        raise FinError(
            f"{folder}: holds another run, which differs in {', '.join(differs)}: choose another --out, or throw "
            "that run away with --fresh"
        )


def _identity(config: TrainConfig, path: str, prepared: "Prepared") -> dict[str, Any]:
    """What makes a run another one: settings, weights, rows and prompts, and libraries that compute."""
    from fin_plugins.common.hashing import digest, hash_files, model_files
    from fin_plugins.training.report.machine import versions

    settings = {key: value for key, value in config.model_dump(mode="json").items() if key not in _NO_PART}
    local = Path(path)
    weights = digest(hash_files(model_files(local), local)) if local.is_dir() else path
    installed = versions()
    libraries = {name: installed[name] for name in ("torch", "transformers", "peft", "trl")}
    return {**settings, "model": weights, "rows and prompts": prepared.hash, "versions": libraries}


def _clear(folder: Path) -> None:
    """Remove a run's files, in a folder that is locked; one that holds anything else is left alone.

    Raises:
        FinError: the folder is not one of a run.
    """
    there = [file for file in folder.iterdir() if file.name != LOCK]  # the lock is held now, and stays
    if there and not (folder / _RUN).is_file():
        raise FinError(f"--fresh: {folder} is not the folder of a training run: remove it yourself, if you mean it")
    for file in sorted(there, key=lambda file: file.name == _RUN):  # last, so that a kill leaves a run's folder
        shutil.rmtree(file) if file.is_dir() and not file.is_symlink() else file.unlink()


def _describe(prepared: "Prepared", config: TrainConfig) -> None:
    for one in prepared.tasks:
        notes = [f"{one.leaks_dropped} in a test set dropped"] if one.leaks_dropped else []
        notes += [f"{one.too_long} too long"] if one.too_long else []
        notes += ["SAMPLE ROWS: no benchmark"] if one.origin == "sample" else []
        _say(
            f"  {one.task}: {one.per_epoch} of {one.available} train rows an epoch, {one.validation} validation rows"
            + (f" ({', '.join(notes)})" if notes else "")
        )


def _merged(config: TrainConfig, path: str, folder: Path) -> Path:
    from fin_plugins.data import trained_rows
    from fin_plugins.training.disk import disk_full_in_words
    from fin_plugins.training.export import base_size, merge
    from fin_plugins.training.report.record import write_text

    merged = folder / "merged"
    if not (merged / "config.json").is_file():
        _say(f"merging in float32 into {merged}")
        with disk_full_in_words(folder, lambda: base_size(path)):
            merge(path, folder, merged, trust_remote_code=config.trust_remote_code)
            rows = trained_rows.known_rows(folder, Path(path))
            write_text(merged / trained_rows.FILE, trained_rows.trained_rows_text(rows))
    return merged


def _say(line: str) -> None:
    if os.environ.get("RANK", "0") == "0":  # of many processes, one speaks
        print(f"fin train: {line}", file=sys.stderr, flush=True)
