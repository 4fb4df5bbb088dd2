"""What an experiment used (time, rows, disk, memory), totalled over its steps' markers, and messages about a run."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fin_plugins.common.atomic import write_file
from fin_plugins.common.formatting import duration, size
from fin_plugins.common.markdown import table
from fin_plugins.experiments.machine_limits import Limits
from fin_plugins.experiments.plan_summary import format_columns
from fin_plugins.experiments.snakemake_run import LOG, RunOutcome
from fin_plugins.experiments.step_plan import Plan
from fin_plugins.experiments.step_status import log_tail, read_json, write_json

FILE, TABLE = "record.json", "record.md"


def summarize_run(plan: Plan) -> dict[str, Any]:
    """Totals over the complete steps of a plan, whenever they ran.

    Returns:
        `experiment`; `steps`, `open`, `engines`, `rows`, `seconds` (parallel steps add up), `cpu_seconds`, `bytes`,
        `peak_bytes` over all steps; `kinds`: the same for each kind; `versions` and number of `hosts` that ran them.
    """
    records = _step_records(plan)
    kinds = list(dict.fromkeys(record["kind"] for record in records))
    return {
        "experiment": plan.name,
        "open": sum(not plan.is_complete(step) for step in plan.steps),
        **_totals(records),
        "kinds": {kind: _totals(record for record in records if record["kind"] == kind) for kind in kinds},
        "hosts": len({record["host"] for record in records}),
        "versions": {name: version for record in records for name, version in record["versions"].items()},
    }


def write_summary(plan: Plan) -> dict[str, Any]:
    """Write the totals to `record.json` in the work folder and as a table to `record.md`, and return them."""
    summary = summarize_run(plan)
    write_json(plan.work / FILE, summary)
    write_file(plan.work / TABLE, markdown_table(summary))
    return summary


def markdown_table(summary: dict[str, Any]) -> str:
    """The totals as a Markdown table."""
    header = ("step", "steps", "engine starts", "rows", "time", "CPU time", "written", "peak memory")
    return table(header, _rows(summary), align="l" + "r" * 7)


def text_table(summary: dict[str, Any]) -> str:
    """The totals as a table for the terminal."""
    header = ("", "steps", "engines", "rows", "time", "CPU time", "written", "peak memory")
    return "\n".join(format_columns([header, *_rows(summary)]))


def format_start(plan: Plan, limits: Limits | None) -> str:
    """How many steps are pending and where they run; without limits, on a cluster."""
    pending = len(plan.pending())
    if not pending:
        return f"nothing to do: all {len(plan.steps)} steps are done"
    where = "a cluster"
    if limits:
        where = f"{limits.cores} cores, {limits.memory_gb:.0f} GB of memory, {len(limits.gpus)} GPUs"
    return f"{pending} of {len(plan.steps)} steps to do, on {where}; results go to {plan.work}"


def format_status(plan: Plan, as_json: bool) -> str:
    """The totals, which are also written to the work folder, and the pages of the boards."""
    summary = write_summary(plan)
    if as_json:
        return json.dumps(summary, indent=1, ensure_ascii=False)
    boards = [step for step in plan.steps if step.kind == "board"]
    pages = [f"the board: {plan.work / Path(step.outputs[0]).parent / 'index.html'}" for step in boards]
    return "\n".join([text_table(summary), *pages])


def format_failures(plan: Plan, outcome: RunOutcome) -> str:
    """Each failed step with the cause, the end of its log and the log's path."""
    lines = []
    for step in plan.steps:
        if step.name not in outcome.failed:
            continue
        log = plan.work / step.log
        lines.append(f"{step.name}: {outcome.failed[step.name]}")
        lines += [f"    {line}" for line in log_tail(plan, step, 8)]
        lines.append(f"  log: {log if log.exists() else plan.work / LOG}")
    if outcome.skipped:
        lines.append(f"not run because of that: {', '.join(outcome.skipped)}")
    return "\n".join(lines)


def _step_records(plan: Plan) -> list[dict[str, Any]]:
    """Contents of the markers, once per run of a step: one run may have several, and later steps need them all."""
    records = {}
    for path in dict.fromkeys(path for step in plan.steps for path in (*step.needs, *step.markers)):
        record = read_json(plan.work / path)
        if record:
            records[(record["step"], record["started"], record["host"])] = record
    return list(records.values())


def _totals(records: Iterable[dict[str, Any]]) -> dict[str, Any]:
    records = list(records)
    summed = ("engines", "rows", "seconds", "cpu_seconds", "bytes")
    totals = {name: sum(record[name] for record in records) for name in summed}
    totals |= {name: round(totals[name], 1) for name in ("seconds", "cpu_seconds")}
    return {
        "steps": len(records),
        **totals,
        "peak_bytes": max((record["peak_bytes"] for record in records), default=0),
    }


def _rows(summary: dict[str, Any]) -> list[tuple[str, ...]]:
    return [(name, *_cells(totals)) for name, totals in [*summary["kinds"].items(), ("all", summary)]]


def _cells(totals: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(totals["steps"]),
        str(totals["engines"]),
        f"{totals['rows']:,}",
        duration(totals["seconds"]),
        duration(totals["cpu_seconds"]),
        size(totals["bytes"], decimals=1),
        f"{totals['peak_bytes'] / 1e9:.1f} GB",
    )
