"""Whether a result file still holds the newest results of its model, as `fin board` will take them by their dates."""

import json
import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_STAMP = re.compile(r"_(\d{4}-\d\d-\d\dT[\d.-]+)\.json$")
_OF_A_TASK = ("results", "configs", "versions", "n-shot", "higher_is_better", "n-samples")
# What sets two runs of a model apart for the board whatever else they have in common.
_CONDITIONS = ("n-samples", "n-shot", "versions")


def content_hash(value: Any) -> bytes:
    """A hash of what lm-eval writes, whatever the places in memory that it writes of functions."""
    from lm_eval.utils import handle_non_serializable

    return sha256(_ADDRESS.sub("", json.dumps(value, default=handle_non_serializable)).encode()).digest()


def task_hashes(results: Mapping[str, Any], samples: Mapping[str, Any] | None, identity: str) -> dict[str, str]:
    """For each task a hash of its results and answers, and of the model they are of.

    Args:
        results: lm-eval's results.
        samples: lm-eval's samples by task, if there are any.
        identity: of the model, by content.
    """
    found = {}
    for task in results["configs"]:
        parts = [identity, [results.get(name, {}).get(task) for name in _OF_A_TASK], (samples or {}).get(task)]
        found[task] = sha256(b"".join(map(content_hash, parts))).hexdigest()
    return found


def is_newest(file: Path, tasks: Mapping[str, str], written: Callable[[], Mapping[Path, Mapping[str, str]]]) -> bool:
    """Whether no newer result file beside this one has other results of the same model, task and conditions.

    Args:
        file: a result file.
        tasks: of `task_hashes`, of what is in it.
        written: gives the same of other result files; one that is not among them has other results.
    """
    newer_files = _newer(file)
    if not newer_files:
        return True
    ours, known = _read(file), written()
    if ours is None:
        return False
    open_tasks = {task: _conditions(ours, task) for task in tasks}
    for newer in newer_files:
        data = _read(newer)
        if data is None or not _same_model(ours, data):
            continue
        for task in [task for task, those in open_tasks.items() if _conditions(data, task) == those]:
            if known.get(newer, {}).get(task) != tasks[task]:
                return False
            del open_tasks[task]
    return True


def _newer(file: Path) -> list[Path]:
    """Result files of the folder with a later date in their name, the newest first."""
    stamped = [(found[1], other) for other in file.parent.iterdir() if (found := _STAMP.search(other.name))]
    own = _STAMP.search(file.name)
    return [other for stamp, other in sorted(stamped, reverse=True) if not own or stamp > own[1]]


def _read(file: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
        return data if isinstance(data, dict) and isinstance(data["results"], dict) else None
    except (OSError, ValueError, KeyError, RecursionError):
        return None  # whatever it is, it is no result of lm-eval's


def _conditions(data: Mapping[str, Any], task: str) -> tuple[Any, ...] | None:
    """What the task was run under; None where it was not run."""
    if task not in data["results"]:
        return None
    values = [below.get(task) for name in _CONDITIONS if isinstance(below := data.get(name), dict)]
    return (*values, data.get("chat_template") is None)


def _same_model(ours: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two result files may be of one model: of the same folders. Files of old versions do not say."""
    models = []
    for data in (ours, other):
        config = data.get("config")
        arguments = config.get("model_args") if isinstance(config, dict) else None
        if not isinstance(arguments, dict):
            return True
        models.append((arguments.get("pretrained"), arguments.get("peft")))
    return models[0] == models[1]
