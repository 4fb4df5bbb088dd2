"""What an experiment took: its steps' markers, summed."""

from collections.abc import Iterable
from typing import Any

from fin_plugins.common.atomic import write_file
from fin_plugins.common.formatting import duration, size
from fin_plugins.experiments.running import state
from fin_plugins.experiments.steps import Plan

FILE, TABLE = "record.json", "record.md"


def record(plan: Plan) -> dict[str, Any]:
    """What the steps of a plan took that are done, whenever they ran.

    Returns:
        `experiment`; `steps`, `open`, `engines`, `rows`, `seconds` (steps run at once count twice), `cpu_seconds`,
        `bytes`, `peak_bytes` over all; `kinds`: the same for each kind; `versions` and `hosts` that ran them.
    """
    told = _told(plan)
    kinds = list(dict.fromkeys(one["kind"] for one in told))
    return {
        "experiment": plan.name,
        "open": sum(not plan.done(step) for step in plan.steps),
        **_summed(told),
        "kinds": {kind: _summed(one for one in told if one["kind"] == kind) for kind in kinds},
        "hosts": len({one["host"] for one in told}),
        "versions": {name: value for one in told for name, value in one["versions"].items()},
    }


def write_record(plan: Plan) -> dict[str, Any]:
    """Write `record.json` of the work folder and its table, `record.md`, and return it."""
    found = record(plan)
    state.write_json(plan.work / FILE, found)
    write_file(plan.work / TABLE, markdown(found))
    return found


def markdown(found: dict[str, Any]) -> str:
    """A record as a Markdown table."""
    head = "| step | steps | engine starts | rows | time | CPU time | written | peak memory |\n"
    rows = [*found["kinds"].items(), ("all", found)]
    return head + "|---|" + "---:|" * 7 + "\n" + "".join(_row(name, one) for name, one in rows)


def table(found: dict[str, Any]) -> str:
    """A record in a few lines for a terminal."""
    rows = [(name, *_cells(one)) for name, one in [*found["kinds"].items(), ("all", found)]]
    lines = [("", "steps", "engines", "rows", "time", "CPU time", "written", "peak memory"), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) if place else cell.ljust(width)
                  for place, (cell, width) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )  # fmt: skip


def _told(plan: Plan) -> list[dict[str, Any]]:
    """What markers say, of each run of a step once: it may have written several, and later steps still need them."""
    found = {}
    for path in dict.fromkeys(path for step in plan.steps for path in (*step.needs, *step.markers)):
        told = state.read_json(plan.work / path)
        if told:
            found[(told["step"], told["started"], told["host"])] = told
    return list(found.values())


def _summed(told: Iterable[dict[str, Any]]) -> dict[str, Any]:
    told = list(told)
    sums = {name: sum(one[name] for one in told) for name in ("engines", "rows", "seconds", "cpu_seconds", "bytes")}
    sums |= {name: round(sums[name], 1) for name in ("seconds", "cpu_seconds")}
    return {"steps": len(told), **sums, "peak_bytes": max((one["peak_bytes"] for one in told), default=0)}


def _cells(one: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(one["steps"]),
        str(one["engines"]),
        f"{one['rows']:,}",
        duration(one["seconds"]),
        duration(one["cpu_seconds"]),
        size(one["bytes"], decimals=1),
        f"{one['peak_bytes'] / 1e9:.1f} GB",
    )


def _row(name: str, one: dict[str, Any]) -> str:
    return "| " + " | ".join((name, *_cells(one))) + " |\n"
