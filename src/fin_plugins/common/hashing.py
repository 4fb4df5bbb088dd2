"""Content hashes of files and folders. Hashes of large files are cached until the file changes.

A cached hash is used only while size, times and inode of the file are unchanged, on file systems that update the times
at every change (see `file_state`). On other file systems, files are read every time.
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

_SMALL = 1 << 20  # bytes; reading a smaller file is cheaper than caching its hash
_SLOW = 1 << 30  # bytes; reading this much takes seconds
_CACHE_VERSION = 2  # version of the cache format
_SETTLED = 2.0  # seconds; a younger file may change again within the resolution of its times
# Files in a model's folder that do not affect the model.
_IRRELEVANT_SUFFIXES = frozenset(
    {".md", ".png", ".jpg", ".jpeg", ".gif", ".pdf", ".log", ".lock", ".h5", ".msgpack", ".onnx"}
)
_IRRELEVANT_PREFIXES = (
    "LICENSE",
    "NOTICE",
    "USE_POLICY",
    "events.out",
    "optimizer",
    "rng_state",
    "scaler",
    "scheduler",
)
_TRAINING_FILES = frozenset({"trainer_state.json", "training_args.bin", "train_rows.txt"})


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, independent of key order; values that are not JSON enter by their `repr`."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=repr)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def model_files(folder: Path) -> list[Path]:
    """Files in a model's folder that affect the model: weights, configuration, tokenizer, code.

    Shards named by a weight index are included wherever they are.
    """
    candidates = [*folder.iterdir(), *(folder / "additional_chat_templates").glob("*")]
    parts = {file for file in candidates if _affects_model(file)}
    for index in folder.glob("*.index*.json"):  # `model.safetensors.index.json`, or with a variant before `.json`
        parts.update(shard for name in _shards(index) if (shard := folder / name).is_file())
    return sorted(parts)


def hash_files(files: Iterable[Path], folder: Path) -> dict[str, str]:
    """SHA-256 of each file, by path relative to `folder`.

    Raises:
        FinError: a file cannot be read.
    """
    paths = list(files)
    uncached = [file for file in paths if _size(file) >= _SMALL and _cached_hash(file) is None]
    if (size := sum(map(_size, uncached))) >= _SLOW:
        frequency = (
            "once, until a file changes" if _state(uncached[0]) else "each time: its file system can hide changes"
        )
        say(f"hashing {size / 1e9:.1f} GB of {folder} ({frequency})")
    with ThreadPoolExecutor(max_workers=4) as pool:
        hashes = pool.map(_hash, paths)
        return {os.path.relpath(file, folder): sha for file, sha in zip(paths, hashes, strict=True)}


def _shards(index: Path) -> set[str]:
    """File names in a weight index; empty if the file is not a weight index."""
    try:
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return {name for name in names if isinstance(name, str)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return set()  # the engine reports it


def _affects_model(file: Path) -> bool:
    name = file.name
    if name.startswith(".") or name in _TRAINING_FILES or file.suffix.lower() in _IRRELEVANT_SUFFIXES:
        return False
    return not name.startswith(_IRRELEVANT_PREFIXES) and file.is_file()


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise _uncachedable(file, error) from error


def _hash(file: Path) -> str:
    if (cached := _cached_hash(file)) is not None:
        return cached
    state = _state(file)
    try:
        with file.open("rb") as stream:
            sha = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _uncachedable(file, error) from error
    if state and state["size"] >= _SMALL and _state(file) == state:
        _cache_hash(file, state, sha)
    return sha


def _uncachedable(file: Path, error: OSError) -> FinError:
    return FinError(
        f"{file}: cannot be read ({error.strerror or error}): all files of a model are needed to identify it"
    )


def _state(file: Path) -> dict[str, int] | None:
    try:
        return file_state(file)
    except OSError as error:
        raise _uncachedable(file, error) from error


def _cache_file(file: Path) -> Path:
    name = hashlib.sha256(str(file.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
    return Path(user_cache_dir("fin-plugins")) / "hashes" / f"{name}.json"


def _cached_hash(file: Path) -> str | None:
    try:
        entry = json.loads(_cache_file(file).read_text(encoding="utf-8"))
        if entry["schema"] != _CACHE_VERSION or not (state := file_state(file)):
            return None
        return str(entry["sha256"]) if entry["state"] == state else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _cache_hash(file: Path, state: dict[str, int], sha: str) -> None:
    if time.time() - max(state["mtime"], state["ctime"]) / 1e9 < _SETTLED:
        return
    record = {"schema": _CACHE_VERSION, "file": str(file), "state": state, "sha256": sha}
    with suppress(OSError):  # an unwritable cache only costs time
        write_file(_cache_file(file), json.dumps(record))
