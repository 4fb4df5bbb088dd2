"""A training run: its folder, its identity, training or resuming, and the merged checkpoint."""

import json
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
from fin_plugins.training.train_config import TrainConfig
from fin_plugins.training.train_record import FILE as RECORD

if TYPE_CHECKING:
    from fin_plugins.training.training_data import TrainingData

_IDENTITY = "run.json"
# Keys that do not make a run another run.
_IGNORED_KEYS = ("output", "merge")


@dataclass(frozen=True)
class TrainResult:
    """The result of a run.

    Attributes:
        folder: folder of the adapter or checkpoint.
        record: content of `train.json`.
        merged: folder of the merged checkpoint, if requested.
        base: folder or hub name of the base model.
    """

    folder: Path
    record: dict[str, Any]
    merged: Path | None
    base: str


def train(config: TrainConfig, name: str, *, fresh: bool = False) -> TrainResult:
    """Train, resume a stopped run of the same configuration and data, or return a finished one.

    Args:
        config: the training file.
        name: name of the run; by default its folder is `results/train/NAME`.
        fresh: delete an earlier run in the folder first.

    Raises:
        FinError: configuration, data, model or machine is unsuitable, or the folder holds another run.
        KeyboardInterrupt: stopped by Ctrl-C, with a checkpoint.
    """
    from accelerate import PartialState
    from transformers.utils import logging as transformers_logging

    from fin_plugins.training.train_loop import run_training
    from fin_plugins.training.trained_model import check_method, device, model_path
    from fin_plugins.training.training_data import load_training_data

    transformers_logging.disable_progress_bar()  # reading and writing weights takes a second
    state = PartialState(cpu=device() == "cpu")
    path = model_path(config.model)
    check_method(config, path)
    folder = Path(config.output or Path("results") / "train" / name)
    # Only one of several processes locks, clears and merges, because all write into the same folder.
    with _lock(folder) if state.is_main_process else nullcontext():
        if state.is_main_process:
            _clear(folder) if fresh else _remove_leftovers(folder)
        _say("reading and rendering the rows")
        data = load_training_data(config, path)
        _say_rows(data)
        _claim(folder, _identity(config, path, data), write=state.is_main_process)
        state.wait_for_everyone()
        if not (folder / RECORD).is_file():
            run_training(config, name, path, data, folder)
        else:
            _say(f"{folder} holds this run, finished; --fresh trains again")
        merge = config.merge and config.method != "full" and state.is_main_process
        merged = _merge(config, path, folder) if merge else None
        state.wait_for_everyone()
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return TrainResult(folder, record, merged, path)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Lock the folder; a finished run in a read-only folder needs no lock.

    Raises:
        FinError: another process works in the folder, or it cannot be written.
    """
    if (folder / RECORD).is_file() and not os.access(folder, os.W_OK):
        yield
        return
    is_new = not folder.exists()
    try:
        with exclusive(folder, "fin train"):
            yield
    finally:
        if is_new:  # remove it if it is still empty, because the rows could not be read
            with suppress(OSError):
                folder.rmdir()


def _remove_leftovers(folder: Path) -> None:
    """Remove what a killed run left: half-written files, and checkpoints of a finished run."""
    from fin_plugins.training.run_stats import CHECKPOINTS

    remove_unfinished_files(folder)
    if (folder / RECORD).is_file():
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def _clear(folder: Path) -> None:
    """Delete a run's files in a locked folder.

    Raises:
        FinError: the folder is not one of a run.
    """
    files = [file for file in folder.iterdir() if file.name != LOCK]
    if files and not (folder / _IDENTITY).is_file():
        raise FinError(f"--fresh: {folder} is not the folder of a training run: delete it yourself if you mean it")
    for file in sorted(files, key=lambda file: file.name == _IDENTITY):  # last, so that a kill leaves a run's folder
        shutil.rmtree(file) if file.is_dir() and not file.is_symlink() else file.unlink()


def _identity(config: TrainConfig, path: str, data: "TrainingData") -> dict[str, Any]:
    """What makes a run another run: settings, weights, rows and prompts, and the libraries that compute."""
    from fin_plugins.common.hashing import digest, hash_files, model_files
    from fin_plugins.training.machine import versions

    settings = {key: value for key, value in config.model_dump(mode="json").items() if key not in _IGNORED_KEYS}
    local = Path(path)
    weights = digest(hash_files(model_files(local), local)) if local.is_dir() else path
    installed = versions()
    libraries = {name: installed[name] for name in ("torch", "transformers", "peft", "trl")}
    return {**settings, "model": weights, "rows and prompts": data.hash, "versions": libraries}


def _claim(folder: Path, identity: Mapping[str, Any], *, write: bool) -> None:
    """Write the run's identity into the folder, or compare it with the one there.

    Raises:
        FinError: the folder holds another run; the message names the differences.
    """
    from fin_plugins.training.train_record import write_text

    file = folder / _IDENTITY
    try:
        existing = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    except ValueError:
        existing = None  # killed while the very first file was written
    if existing is None:
        if write:
            write_text(file, json.dumps(identity, indent=1))
        return
    differences = sorted(key for key in {*existing, *identity} if existing.get(key) != identity.get(key))
    if differences:
        raise FinError(
            f"{folder}: holds another run, which differs in {', '.join(differences)}: choose another --out, or delete "
            "that run with --fresh"
        )


def _merge(config: TrainConfig, path: str, folder: Path) -> Path:
    from fin_plugins.data import text_hashes
    from fin_plugins.training.resource_errors import explain_full_disk
    from fin_plugins.training.train_record import write_text
    from fin_plugins.training.trained_model import checkpoint_bytes, merge_adapter

    merged = folder / "merged"
    if not (merged / "config.json").is_file():
        _say(f"merging in float32 into {merged}")
        with explain_full_disk(folder, lambda: checkpoint_bytes(path)):
            merge_adapter(path, folder, merged, trust_remote_code=config.trust_remote_code)
            rows = text_hashes.read_trained_rows(folder, Path(path))
            write_text(merged / text_hashes.TRAINED_ROWS_FILE, text_hashes.format_trained_rows(rows))
    return merged


def _say_rows(data: "TrainingData") -> None:
    for task in data.tasks:
        notes = [f"{task.leaks_dropped} in a test set dropped"] if task.leaks_dropped else []
        notes += [f"{task.too_long} too long"] if task.too_long else []
        notes += ["SAMPLE ROWS, not a benchmark"] if task.origin == "sample" else []
        suffix = f" ({', '.join(notes)})" if notes else ""
        _say(
            f"  {task.task}: {task.per_epoch} examples per epoch, of {task.available} train rows; {task.validation} "
            f"validation rows{suffix}"
        )


def _say(line: str) -> None:
    if os.environ.get("RANK", "0") == "0":  # only the first of several processes
        print(f"fin train: {line}", file=sys.stderr, flush=True)
