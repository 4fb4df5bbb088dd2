"""Plans of small real programs."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fin_plugins.experiments.experiment_config import Resources
from fin_plugins.experiments.step_plan import Plan, Step, marker

SMALL = Resources(cores=1, memory_gb=0.1)
KEY = "0123456789ab"
# Joins the contents of its inputs, and records in ran.txt that it ran to its end.
PROGRAM = """
import pathlib, sys, time
out, seconds, *inputs = sys.argv[1:]
print("working on", out, flush=True)
time.sleep(float(seconds))
text = "".join(pathlib.Path(input).read_text() for input in inputs)
pathlib.Path(out).parent.mkdir(exist_ok=True)
pathlib.Path(out).write_text(f"{out}({text})")
with open("ran.txt", "a") as ran:
    ran.write(out + chr(10))
"""


def step(name: str, needs: Sequence[str] = (), *, seconds: float = 0, code: str = PROGRAM, **fields: Any) -> Step:
    """A step that writes made/NAME from the outputs of the steps it needs."""
    out, inputs = f"made/{name}", [f"made/{need}" for need in needs]
    defaults: dict[str, Any] = {
        "name": name,
        "kind": "train",
        "key": KEY,
        "command": (sys.executable, "-c", code, out, str(seconds), *inputs),
        "needs": tuple(marker(need, KEY) for need in needs),
        "markers": (marker(name, KEY),),
        "outputs": (out,),
        "resources": SMALL,
    }
    return Step(**{**defaults, **fields})


def diamond(work: Path, seconds: float = 0) -> Plan:
    """Two steps that need one, and one that needs both."""
    needs = {"first": [], "left": ["first"], "right": ["first"], "last": ["left", "right"]}
    return Plan("demo", work, tuple(step(name, needed, seconds=seconds) for name, needed in needs.items()))


DIAMOND_RESULT = "made/last(made/left(made/first())made/right(made/first()))"
"""What the last step of `diamond` writes."""


def chain(work: Path) -> Plan:
    """One step that needs another."""
    return Plan("demo", work, (step("first"), step("last", ["first"])))


def complete(plan: Plan) -> None:
    """Write all markers and outputs, as if the steps had run."""
    for path in (path for step in plan.steps for path in (*step.markers, *step.outputs)):
        (plan.work / path).parent.mkdir(parents=True, exist_ok=True)
        (plan.work / path).write_text("{}")


def completed_steps(work: Path) -> list[str]:
    """Names of the steps that ran to their end, in order."""
    file = work / "ran.txt"
    return [line.removeprefix("made/") for line in file.read_text().splitlines()] if file.exists() else []
