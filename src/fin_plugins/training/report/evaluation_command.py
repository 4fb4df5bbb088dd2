"""The command that evaluates what a run made, to be typed as it is printed."""

import re
import shlex
from pathlib import Path
from typing import Any

_YAML = (".yaml", ".yml")
_RESERVED = ("base",)  # what fin eval calls the model without an adapter


def adapter_name(folder: str) -> str:
    """A name for the adapter of a folder called so, as `--adapter NAME=PATH` takes it."""
    name = re.sub(r"[^\w.-]+", "-", folder, flags=re.ASCII).strip("-.") or "trained"
    return f"{name}-adapter" if name in _RESERVED else name


def evaluation_command(record: dict[str, Any], folder: Path, base: str) -> str:
    """`fin eval` on the tasks that were trained on.

    Args:
        record: as in `train.json`.
        folder: of the adapter or checkpoint.
        base: folder or hub name of the base model.
    """
    full = record["method"] == "full"
    words = ["fin", "eval", "--model", "fin_hf", "--model_args", f"pretrained={folder if full else base}"]
    words += [] if full else ["--adapter", f"{adapter_name(folder.resolve().name)}={folder}"]
    words += _tasks(record)
    words += ["--apply_chat_template"] if record["config"]["chat_template"] else []
    words += ["--log_samples", "--output_path", "results"]
    sample = any(task["origin"] == "sample" for task in record["tasks"])
    return ("FIN_DATA=sample " if sample else "") + shlex.join(words)


def _tasks(record: dict[str, Any]) -> list[str]:
    """Tasks of the user are named by their files; lm-eval takes one folder of such files, or the files themselves."""
    typed = [task["task"] for task in record["config"]["tasks"]]
    folders = {str(Path(task).parent) for task in typed if task.endswith(_YAML)}
    if len(folders) > 1:
        return ["--tasks", ",".join(typed)]
    include = [word for folder in folders for word in ("--include_path", folder)]
    return ["--tasks", ",".join(task["task"] for task in record["tasks"]), *include]
