"""Paths that an experiment names, made absolute: its steps run in the folder of what they make."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fin_plugins.common.bundled import is_file, is_folder
from fin_plugins.common.yaml_nodes import Key
from fin_plugins.training.config import TrainConfig

_ENDINGS = (".yaml", ".yml", ".json", ".jsonl")
# `*` is any name or item.
_OF_TRAINING: tuple[Key, ...] = (
    ("tasks", "*"),
    ("tasks", "*", "task"),
    ("replay",),
    ("replay", "source"),
    ("replay", "instructions"),
    ("replay.source",),
    ("replay.instructions",),
)
_PATHS: tuple[Key, ...] = (
    ("models", "*", "model"),
    ("tasks", "seen", "*"),
    ("tasks", "unseen", "*"),
    ("training", "*", "file"),
    ("merges", "*", "recipe"),
    ("merges", "*", "search", "unlabelled"),
    ("merges", "*", "search", "unlabelled", "instructions"),
    *(("training", "*", "set", *key) for key in _OF_TRAINING),
    *(("models", "*", "settings", *key) for key in _OF_TRAINING),
)


def make_absolute(data: Any, folder: Path, paths: Iterable[Key] = _PATHS) -> None:
    """Make every path absolute where it stands.

    Names of shipped files and hub names are left alone: a path begins with `.`, `/` or `~`, ends as a file does, or has
    a `/` in it and is there.

    Args:
        data: of an experiment file; it may have any form.
        folder: what relative paths are relative to.
        paths: where they may stand.
    """
    for path in paths:
        for parent, part in _places(data, path):
            if isinstance(parent[part], str) and _is_path(parent[part], folder):
                parent[part] = _absolute(parent[part], folder)


def of_training_file(config: TrainConfig) -> dict[str, Any]:
    """The keys of a training file that name relative paths, with these made absolute.

    As with `fin train`, they are relative to the working folder.
    """
    before = config.model_dump(mode="json", exclude_unset=True, include={"tasks", "replay"})
    after = config.model_dump(mode="json", exclude_unset=True, include={"tasks", "replay"})
    make_absolute(after, Path(), _OF_TRAINING)
    return {key: value for key, value in after.items() if value != before[key]}


def _places(data: Any, path: Key) -> Iterator[tuple[Any, Any]]:
    """The mapping or list, and the key or number in it, of everything that stands at a path."""
    numbered = isinstance(data, list) and path[0] == "*"
    keys = range(len(data)) if numbered else list(data) if isinstance(data, dict) else ()
    for key in keys:
        if path[0] in ("*", key):
            yield from _places(data[key], path[1:]) if path[1:] else [(data, key)]


def _is_path(text: str, folder: Path) -> bool:
    there = "/" in text and (is_file(str(folder / text)) or is_folder(str(folder / text)))
    return text.startswith((".", "/", "~")) or text.endswith(_ENDINGS) or there


def _absolute(text: str, folder: Path) -> str:
    try:
        return str((folder / Path(text).expanduser()).absolute())
    except RuntimeError:  # `~nobody/`: no such user
        return text
