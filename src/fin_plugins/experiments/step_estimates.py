"""Estimates of how long steps take and how much they write: from earlier steps, else from a table of rates."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Literal

from fin_plugins.experiments.step_plan import Plan, Step


@dataclass(frozen=True)
class Estimate:
    """Estimate of a step.

    Attributes:
        seconds: wall-clock time.
        bytes: size of what stays on disk.
        basis: `measured` on steps of the same kind and model in this work folder, `rough` from the table of rates, or
            the `limit` that the experiment declares, if nothing better is known.
    """

    seconds: float
    bytes: int
    basis: Literal["measured", "rough", "limit"]


def estimate_steps(plan: Plan, records: Sequence[Mapping[str, Any]] | None = None) -> dict[str, Estimate]:
    """Estimates by step name; for a complete step, what it took.

    Args:
        plan: the plan.
        records: contents of earlier steps' markers; default: all markers of the work folder.
    """
    records = read_markers(plan) if records is None else records
    rates = _rates()
    return {step.name: _estimate_step(plan, step, records, rates) for step in plan.steps}


def read_markers(plan: Plan) -> list[dict[str, Any]]:
    """Contents of all markers in the work folder, once per run of a step; unreadable ones are skipped."""
    records = {}
    for file in sorted((plan.work / "done").glob("*.json")):
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
            records[record["step"], record["key"], record.get("started")] = record
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return list(records.values())


def makespan(steps: Iterable[Step], seconds: Mapping[str, float], cores: int) -> float:
    """Approximate seconds until all steps are complete: the longest chain, or all work divided by the cores.

    Args:
        steps: the steps in the plan's order.
        seconds: time of each step alone, by name.
        cores: cores that all steps together may use.
    """
    chains: dict[str, float] = {}
    work = 0.0
    for step in steps:
        chain = seconds[step.name] + max((chains.get(marker, 0.0) for marker in step.needs), default=0.0)
        chains |= dict.fromkeys(step.markers, chain)
        work += seconds[step.name] * min(step.resources.cores, cores)
    return max([work / cores, *chains.values()])


def _estimate_step(plan: Plan, step: Step, records: Sequence[Mapping[str, Any]], rates: Mapping[str, Any]) -> Estimate:
    start = float(rates[step.kind]["start"])
    step_records = [record for record in records if (record["step"], record["key"]) == (step.name, step.key)]
    similar = [
        record
        for record in records
        if record.get("kind") == step.kind and _model_name(record["step"]) == _model_name(step.name)
    ]
    if step_records and plan.is_complete(step):
        return Estimate(float(step_records[-1]["seconds"]), step.bytes, "measured")
    if similar and (step.rows or not any(record["rows"] for record in similar)):
        return Estimate(_extrapolate(step, similar, start), step.bytes, "measured")
    loads_model = step.kind != "board"
    if loads_model and (step.resources.gpus or not step.parameters):
        return Estimate(step.resources.hours * 3600, step.bytes, "limit")
    scale = max(1.0, step.parameters / float(rates["parameters"])) if loads_model else 1.0
    scale *= float(rates["on_one_core"]) if step.resources.cores == 1 else 1.0
    seconds = scale * (start + float(rates[step.kind]["row"]) * step.rows)
    return Estimate(min(seconds, step.resources.hours * 3600), step.bytes, "rough")


def _extrapolate(step: Step, records: Sequence[Mapping[str, Any]], start: float) -> float:
    """Seconds at the records' mean time per row, plus the time to start."""
    if not step.rows:
        return float(mean(record["seconds"] for record in records))
    row_seconds = sum(max(record["seconds"] - start, record["seconds"] / 2) for record in records)
    start_seconds = mean(min(start, record["seconds"] / 2) for record in records)
    return float(start_seconds + step.rows * row_seconds / max(1, sum(record["rows"] for record in records)))


def _model_name(step: str) -> str:
    """Name of the base model in a step's name."""
    return step.split("-")[1]


def _rates() -> dict[str, Any]:
    import yaml

    return dict(yaml.safe_load(Path(__file__).with_name("step_rates.yaml").read_text(encoding="utf-8")))
