"""A plan as a person reads it: what is to be done and what is done already, how long it takes, how much it writes."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from fin_plugins.common.formatting import duration, size
from fin_plugins.experiments.config import Kind
from fin_plugins.experiments.planning.estimate import Estimate, estimate, together, total
from fin_plugins.experiments.steps import Plan, Step, of_kind

_BASIS = {"measured": "", "rough": "*", "limit": "<"}
_NOTES = {
    "*": "* by a rough table for two cores; steps that have run make it better",
    "<": "< at most: the hours that the experiment declares, as nothing better is known",
}
_NO_SIZE = "disk: without what is trained and merged from models that are not on this machine yet"


def told(plan: Plan, as_json: bool = False, commands: bool = False, cores: int | None = None) -> str:
    """The plan as text, or as JSON.

    Args:
        plan: the plan.
        as_json: JSON, every step with its command.
        commands: in the text, too, the command of each step.
        cores: that steps run on at once; None: not known.
    """
    estimates = estimate(plan)
    to_do = plan.to_do()
    until = together(to_do, {name: one.seconds for name, one in estimates.items()}, cores) if cores else None
    if as_json:
        return json.dumps(_data(plan, to_do, estimates, until), indent=1, ensure_ascii=False)
    lines = [f"{plan.name}: {len(to_do)} of {len(plan.steps)} steps to do, in {plan.work}", ""]
    lines += _table(plan, to_do, estimates)
    if until and to_do:
        lines += ["", f"done in about {duration(until)}, as steps run side by side on {cores} cores"]
    lines += ["", *(line for step in plan.steps for line in _step(step, step in to_do, estimates, commands))]
    notes = _notes(to_do, estimates)
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _notes(to_do: Sequence[Step], estimates: Mapping[str, Estimate]) -> list[str]:
    marks = {_BASIS[estimates[step.name].basis] for step in to_do}
    found = [note for mark, note in _NOTES.items() if mark in marks]
    return [*found, *([_NO_SIZE] if any(step.kind != "board" and not step.parameters for step in to_do) else [])]


def _table(plan: Plan, to_do: Sequence[Step], estimates: Mapping[str, Estimate]) -> list[str]:
    head = ("", "to do", "done", "engine starts", "rows", "time", "disk")
    rows: list[tuple[str, ...]] = [head]
    for kind in get_args(Kind):
        every, still = of_kind(plan.steps, kind), of_kind(to_do, kind)
        rows += [(kind, *_cells(every, still, estimates))] if every else []
    rows.append(("all", *_cells(plan.steps, to_do, estimates)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    cells = [[f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)] for row in rows]
    return [f"{row[0]:<{widths[0]}}  {'  '.join(line)}" for row, line in zip(rows, cells, strict=True)]


def _cells(every: Sequence[Step], still: Sequence[Step], estimates: Mapping[str, Estimate]) -> tuple[str, ...]:
    seconds, written = total(estimates, still)
    counts = (len(still), len(every) - len(still), sum(step.engines for step in still))
    return (*map(str, counts), f"{sum(step.rows for step in still):,}", duration(seconds), size(written))


def _step(step: Step, is_open: bool, estimates: Mapping[str, Estimate], commands: bool) -> list[str]:
    found = estimates[step.name]
    state = f"{duration(found.seconds)}{_BASIS[found.basis]}" if is_open else "done"
    line = f"  {state:>10}  {step.name}"
    return [line, f"              {shlex.join(step.command)}"] if commands else [line]


def _data(plan: Plan, to_do: Sequence[Step], estimates: Mapping[str, Estimate], until: float | None) -> dict[str, Any]:
    seconds, written = total(estimates, to_do)
    return {
        "name": plan.name,
        "work": str(plan.work),
        "to_do": len(to_do),
        "engines": sum(step.engines for step in to_do),
        "rows": sum(step.rows for step in to_do),
        "seconds": round(seconds),
        "seconds_side_by_side": None if until is None else round(until),
        "bytes": written,
        "steps": [{**_plain(step, estimates[step.name]), "done": step not in to_do} for step in plan.steps],
    }


def _plain(step: Step, found: Estimate) -> dict[str, Any]:
    names = ("name", "kind", "key", "command", "needs", "rows", "engines")
    estimated = {"seconds": round(found.seconds), "bytes": found.bytes, "basis": found.basis}
    return {**{name: getattr(step, name) for name in names}, **estimated}
