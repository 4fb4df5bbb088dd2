"""Plans of real little programs."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fin_plugins.experiments.config import Resources
from fin_plugins.experiments.steps import Plan, Step, marker

SMALL = Resources(cores=1, memory_gb=0.1)
KEY = "0123456789ab"
# Joins what its inputs say, and notes in ran.txt that it ran to its end.
PROGRAM = """
import pathlib, sys, time
out, seconds, *inputs = sys.argv[1:]
print("working on", out, flush=True)
time.sleep(float(seconds))
text = "".join(pathlib.Path(one).read_text() for one in inputs)
pathlib.Path(out).parent.mkdir(exist_ok=True)
pathlib.Path(out).write_text(f"{out}({text})")
with open("ran.txt", "a") as ran:
    ran.write(out + chr(10))
"""


def step(name: str, needs: Sequence[str] = (), *, seconds: float = 0, code: str = PROGRAM, **more: Any) -> Step:
    """A step that writes made/NAME from those of the steps it needs."""
    out, inputs = f"made/{name}", [f"made/{one}" for one in needs]
    fields: dict[str, Any] = {
        "name": name,
        "kind": "train",
        "key": KEY,
        "command": (sys.executable, "-c", code, out, str(seconds), *inputs),
        "needs": tuple(marker(one, KEY) for one in needs),
        "markers": (marker(name, KEY),),
        "outputs": (out,),
        "resources": SMALL,
    }
    return Step(**{**fields, **more})


def diamond(work: Path, seconds: float = 0) -> Plan:
    """Two steps on one, and one on both."""
    needs = {"first": [], "left": ["first"], "right": ["first"], "last": ["left", "right"]}
    return Plan("demo", work, tuple(step(name, before, seconds=seconds) for name, before in needs.items()))


WHOLE = "made/last(made/left(made/first())made/right(made/first()))"
"""What the last step of `diamond` has written in the end."""


def two(work: Path) -> Plan:
    """One step on another."""
    return Plan("demo", work, (step("first"), step("last", ["first"])))


def ran(work: Path) -> list[str]:
    """Which steps ran to their end, in that order."""
    file = work / "ran.txt"
    return [line.removeprefix("made/") for line in file.read_text().splitlines()] if file.exists() else []
