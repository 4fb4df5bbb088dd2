"""What `fin run` says before and after."""

import json
from pathlib import Path

from fin_plugins.experiments.running.progress import tail
from fin_plugins.experiments.running.record import table, write_record
from fin_plugins.experiments.running.run import Outcome
from fin_plugins.experiments.running.snakemake import LOG, Limits
from fin_plugins.experiments.steps import Plan


def before(plan: Plan, limits: Limits | None) -> str:
    """How much there is to do, and on what; without limits a cluster does it."""
    to_do = len(plan.to_do())
    if not to_do:
        return f"nothing to do: all {len(plan.steps)} steps are done"
    where = "a cluster"
    if limits:
        where = f"{limits.cores} cores, {limits.memory_gb:.0f} GB of memory, {len(limits.gpus)} GPUs"
    return f"{to_do} of {len(plan.steps)} steps to do, on {where}; all is in {plan.work}"


def after(plan: Plan, as_json: bool) -> str:
    """What it took, which `record.json` and `record.md` of the work folder say, too, and where the board is."""
    found = write_record(plan)
    if as_json:
        return json.dumps(found, indent=1, ensure_ascii=False)
    boards = [step for step in plan.steps if step.kind == "board"]
    pages = [f"the board: {plan.work / Path(step.outputs[0]).parent / 'index.html'}" for step in boards]
    return "\n".join([table(found), *pages])


def failures(plan: Plan, outcome: Outcome) -> str:
    """What is wrong, for the person at the terminal: which step, the end of its log, and where all of it is."""
    lines = []
    for step in plan.steps:
        if step.name not in outcome.failed:
            continue
        log = plan.work / step.log
        lines.append(f"{step.name}: {outcome.failed[step.name]}")
        lines += [f"    {line}" for line in tail(plan, step, 8)]
        lines.append(f"  its log: {log if log.exists() else plan.work / LOG}")
    if outcome.waiting:
        lines.append(f"not run for that: {', '.join(outcome.waiting)}")
    return "\n".join(lines)
