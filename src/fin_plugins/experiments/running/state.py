"""What a step says of itself while it runs and when it failed: files in the work folder, which other nodes see too."""

import json
from pathlib import Path
from typing import Any

from fin_plugins.common.atomic import write_file
from fin_plugins.experiments.steps import Plan, Step

RUNNING, FAILED = "running", "failed"


def write(plan: Plan, step: Step, what: str, data: dict[str, Any]) -> None:
    """Say it of a step."""
    write_json(plan.work / what / f"{step.name}.json", {"step": step.name, "key": step.key, **data})


def clear(plan: Plan, step: Step, what: str) -> None:
    """Take it back."""
    (plan.work / what / f"{step.name}.json").unlink(missing_ok=True)


def read(plan: Plan, what: str) -> dict[str, dict[str, Any]]:
    """Of which steps of the plan it is said, and what."""
    keys = {step.name: step.key for step in plan.steps}
    found = {}
    for file in (plan.work / what).glob("*.json"):
        data = read_json(file)
        if data and keys.get(data["step"]) == data["key"]:
            found[str(data["step"])] = data
    return found


def write_json(file: Path, data: dict[str, Any]) -> None:
    """Write a JSON file whole."""
    write_file(file, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def read_json(file: Path) -> dict[str, Any] | None:
    """What a file says; None where it is gone, as a step that ended meanwhile takes its own away."""
    try:
        data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data
