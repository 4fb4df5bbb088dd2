"""What the marker of a step that is done says."""

import importlib.metadata
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fin_plugins.experiments.running import state
from fin_plugins.experiments.running.command import Spent
from fin_plugins.experiments.steps import Plan, Step

_ENGINES = ("vllm", "mergekit", "snakemake")


def contents(plan: Plan, step: Step, spent: Spent, started: float) -> dict[str, Any]:
    """All that is known of a step when it is done: the same in each of its markers."""
    return {
        "step": step.name,
        "kind": step.kind,
        "key": step.key,
        "command": list(step.command),
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "seconds": round(spent.seconds, 3),
        "cpu_seconds": round(spent.cpu_seconds, 3),
        "peak_bytes": spent.peak_bytes,
        "bytes": sum(map(_bytes, _made(plan, step))),
        "rows": step.rows,
        "engines": step.engines,
        "host": socket.gethostname(),
        "versions": _versions(),
    }


def _made(plan: Plan, step: Step) -> set[Path]:
    """What a step wrote: the folder whose name ends in its key, where the output is only a file in it.

    Where the output is a list of files, as `fin eval --written` makes it, those too.
    """
    found = set()
    for output in map(Path, step.outputs):
        own = [path for path in (output, *output.parents) if path.name.endswith(step.key)]
        found.add(plan.work / (own[-1] if own else output))
        found |= _listed(plan.work / output) if step.kind == "score" else set()
    return found


def _listed(file: Path) -> set[Path]:
    told = state.read_json(file) or {}
    return {file.parent / path for path in told.get("files", [])}


def _bytes(path: Path) -> int:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file() and not file.is_symlink())


def _versions() -> dict[str, str]:
    from fin_plugins.training.report.machine import versions

    found = versions()
    for name in _ENGINES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
