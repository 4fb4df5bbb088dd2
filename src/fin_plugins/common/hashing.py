"""Content hashes of files and folders. Large files are read once and remembered until they change.

What is remembered is used only while size, times and inode of the file are the same, on file systems that set the times
at every change (`file_state`); on others, files are read every time.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from platformdirs import user_cache_dir

from fin_plugins.common.atomic import write_file
from fin_plugins.common.console import say
from fin_plugins.common.errors import FinError
from fin_plugins.common.file_state import file_state

_SMALL = 1 << 20  # bytes; a smaller file is read each time: cheaper than remembering it
_WORTH_A_LINE = 1 << 30  # bytes; reading as much takes seconds
_SCHEMA = 2  # of what is remembered
_SETTLED = 2.0  # seconds; a file younger than this may change again without a change of its times
# What lies in a model's folder and is no part of the model: a README may change, weights may not.
_NO_PART = frozenset({".md", ".png", ".jpg", ".jpeg", ".gif", ".pdf", ".log", ".lock", ".h5", ".msgpack", ".onnx"})
_LEFT_BY_TRAINING = ("LICENSE", "NOTICE", "USE_POLICY", "events.out", "optimizer", "rng_state", "scaler", "scheduler")
_LEFT_BY_TRAINING_TOO = frozenset({"trainer_state.json", "training_args.bin", "train_rows.txt"})


def digest(value: Any) -> str:
    """The sha256 of a JSON value, whatever the order of its keys; what is not JSON counts by its `repr`."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=repr)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def model_files(folder: Path) -> list[Path]:
    """The files of a model's folder that are part of the model: weights, configuration, tokenizer, code.

    Shards that an index of weights names count wherever they lie.
    """
    found = [*folder.iterdir(), *(folder / "additional_chat_templates").glob("*")]
    parts = {file for file in found if _is_part(file)}
    for index in folder.glob("*.index*.json"):  # `model.safetensors.index.json`, or with a variant before `.json`
        parts.update(shard for name in _shards(index) if (shard := folder / name).is_file())
    return sorted(parts)


def hash_files(files: Iterable[Path], folder: Path) -> dict[str, str]:
    """The sha256 of each file, under its name relative to `folder`.

    Raises:
        FinError: a file cannot be read.
    """
    listed = list(files)
    unread = [file for file in listed if _size(file) >= _SMALL and _remembered(file) is None]
    if (size := sum(map(_size, unread))) >= _WORTH_A_LINE:
        kept = "remembered until a file changes" if _state(unread[0]) else "each time: its file system can hide changes"
        say(f"hashing {size / 1e9:.1f} GB of {folder} ({kept})")
    with ThreadPoolExecutor(max_workers=4) as pool:
        hashes = pool.map(_hash, listed)
        return {os.path.relpath(file, folder): sha for file, sha in zip(listed, hashes, strict=True)}


def _shards(index: Path) -> set[str]:
    """The files that an index of weights names; none where it is no such index."""
    try:
        named = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return {name for name in named if isinstance(name, str)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return set()  # the engine will say so


def _is_part(file: Path) -> bool:
    name = file.name
    if name.startswith(".") or name in _LEFT_BY_TRAINING_TOO or file.suffix.lower() in _NO_PART:
        return False
    return not name.startswith(_LEFT_BY_TRAINING) and file.is_file()


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise _unreadable(file, error) from error


def _hash(file: Path) -> str:
    known = _remembered(file)
    if known is not None:
        return known
    state = _state(file)
    try:
        with file.open("rb") as stream:
            sha = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(file, error) from error
    if state and state["size"] >= _SMALL and _state(file) == state:
        _remember(file, state, sha)
    return sha


def _unreadable(file: Path, error: OSError) -> FinError:
    return FinError(
        f"{file}: cannot be read ({error.strerror or error}): a model's files must all be there to be told apart"
    )


def _state(file: Path) -> dict[str, int] | None:
    try:
        return file_state(file)
    except OSError as error:
        raise _unreadable(file, error) from error


def _note(file: Path) -> Path:
    name = hashlib.sha256(str(file.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
    return Path(user_cache_dir("fin-plugins")) / "hashes" / f"{name}.json"


def _remembered(file: Path) -> str | None:
    try:
        note = json.loads(_note(file).read_text(encoding="utf-8"))
        if note["schema"] != _SCHEMA or not (state := file_state(file)):
            return None
        return str(note["sha256"]) if note["state"] == state else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(file: Path, state: dict[str, int], sha: str) -> None:
    if time.time() - max(state["mtime"], state["ctime"]) / 1e9 < _SETTLED:
        return
    note = _note(file)
    record = {"schema": _SCHEMA, "file": str(file), "state": state, "sha256": sha}
    with suppress(OSError):  # a cache that cannot be written costs time, nothing else
        write_file(note, json.dumps(record))
