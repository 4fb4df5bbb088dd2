"""How long steps will take, and how much they will write: from earlier steps, else from a rough table."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Literal

from fin_plugins.experiments.steps import Plan, Step


@dataclass(frozen=True)
class Estimate:
    """What a step will take.

    Attributes:
        seconds: by the clock.
        bytes: that stay on disk.
        basis: `measured` on steps of the kind and model in this work folder, `rough` by the shipped table, or the
            `limit` that the experiment declares, where nothing better is known.
    """

    seconds: float
    bytes: int
    basis: Literal["measured", "rough", "limit"]


def estimate(plan: Plan, records: Sequence[Mapping[str, Any]] | None = None) -> dict[str, Estimate]:
    """What each step of a plan takes, by name; for one that is done, what it took.

    Args:
        plan: the plan.
        records: what markers say of earlier steps; by default all markers of the work folder.
    """
    known = marked(plan) if records is None else records
    rates = _rates()
    return {step.name: _of_step(plan, step, known, rates) for step in plan.steps}


def marked(plan: Plan) -> list[dict[str, Any]]:
    """What the markers of a work folder say, of each run of a step once; what cannot be read is left out."""
    found = {}
    for file in sorted((plan.work / "done").glob("*.json")):
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
            found[told["step"], told["key"], told.get("started")] = told
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return list(found.values())


def total(estimates: Mapping[str, Estimate], steps: Iterable[Step]) -> tuple[float, int]:
    """Seconds one after another and bytes of some steps."""
    listed = [estimates[step.name] for step in steps]
    return sum(one.seconds for one in listed), sum(one.bytes for one in listed)


def together(steps: Iterable[Step], seconds: Mapping[str, float], cores: int) -> float:
    """Seconds until all steps are done, side by side, roughly: the longest chain, or all work over the cores.

    Args:
        steps: in the plan's order.
        seconds: of each step by itself, by name.
        cores: that steps run on at once.
    """
    chains: dict[str, float] = {}
    work = 0.0
    for step in steps:
        own = seconds[step.name]
        chain = own + max((chains.get(marker, 0.0) for marker in step.needs), default=0.0)
        chains |= dict.fromkeys(step.markers, chain)
        work += own * min(step.resources.cores, cores)
    return max([work / cores, *chains.values()])


def _of_step(plan: Plan, step: Step, records: Sequence[Mapping[str, Any]], rates: Mapping[str, Any]) -> Estimate:
    start = float(rates[step.kind]["start"])
    same = [one for one in records if (one["step"], one["key"]) == (step.name, step.key)]
    alike = [one for one in records if one.get("kind") == step.kind and _model(one["step"]) == _model(step.name)]
    if same and plan.done(step):
        return Estimate(float(same[-1]["seconds"]), step.bytes, "measured")
    if alike and (step.rows or not any(one["rows"] for one in alike)):
        return Estimate(_by_others(step, alike, start), step.bytes, "measured")
    loads_model = step.kind != "board"
    if loads_model and (step.resources.gpus or not step.parameters):
        return Estimate(step.resources.hours * 3600, step.bytes, "limit")
    scale = max(1.0, step.parameters / float(rates["parameters"])) if loads_model else 1.0
    scale *= float(rates["on_one_core"]) if step.resources.cores == 1 else 1.0
    seconds = scale * (start + float(rates[step.kind]["row"]) * step.rows)
    return Estimate(min(seconds, step.resources.hours * 3600), step.bytes, "rough")


def _by_others(step: Step, alike: Sequence[Mapping[str, Any]], start: float) -> float:
    """As long a row as with the others; starting takes a while in any case."""
    if not step.rows:
        return float(mean(one["seconds"] for one in alike))
    spent = sum(max(one["seconds"] - start, one["seconds"] / 2) for one in alike)
    once = mean(min(start, one["seconds"] / 2) for one in alike)
    return float(once + step.rows * spent / max(1, sum(one["rows"] for one in alike)))


def _model(step: str) -> str:
    """The base model in a step's name."""
    return step.split("-")[1]


def _rates() -> dict[str, Any]:
    import yaml

    return dict(yaml.safe_load(Path(__file__).with_name("rates.yaml").read_text(encoding="utf-8")))
