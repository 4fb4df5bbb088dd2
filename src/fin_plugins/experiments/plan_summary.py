"""A plan for people: as text with time and disk, as JSON, and as a graph in Graphviz's or Mermaid's language."""

import json
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from fin_plugins.common.atomic import write_file
from fin_plugins.common.errors import FinError, first_line
from fin_plugins.common.formatting import duration, size
from fin_plugins.experiments.experiment_config import Kind
from fin_plugins.experiments.step_estimates import Estimate, estimate_steps, makespan
from fin_plugins.experiments.step_plan import Plan, Step, of_kind

_BASIS_MARKS = {"measured": "", "rough": "*", "limit": "<"}
_NOTES = {
    "*": "* rough estimate for two cores; improves once steps have run",
    "<": "< upper bound: the hours that the experiment declares, as nothing better is known",
}
_UNKNOWN_SIZE = "disk: excludes adapters and checkpoints of models that are not on this machine yet"
_COLOURS: Mapping[Kind, str] = {
    "train": "#dbe9f6",
    "merge": "#fde6cd",
    "search": "#f9d4d4",
    "score": "#dff0d8",
    "board": "#e6e0f0",
}
_COMPLETE = "✓ "


def format_plan(plan: Plan, as_json: bool = False, commands: bool = False, cores: int | None = None) -> str:
    """The plan as text, or as JSON.

    Args:
        plan: the plan.
        as_json: return JSON, with the command of every step.
        commands: add each step's command to the text.
        cores: cores that all steps together may use; None: unknown.
    """
    estimates = estimate_steps(plan)
    pending = plan.pending()
    seconds = {name: estimate.seconds for name, estimate in estimates.items()}
    parallel_seconds = makespan(pending, seconds, cores) if cores else None
    if as_json:
        return json.dumps(_as_data(plan, pending, estimates, parallel_seconds), indent=1, ensure_ascii=False)
    lines = [f"{plan.name}: {len(pending)} of {len(plan.steps)} steps to do, in {plan.work}", ""]
    lines += _table(plan, pending, estimates)
    if parallel_seconds and pending:
        lines += ["", f"ready in about {duration(parallel_seconds)}, with steps side by side on {cores} cores"]
    lines.append("")
    for step in plan.steps:
        estimate = estimates[step.name]
        state = f"{duration(estimate.seconds)}{_BASIS_MARKS[estimate.basis]}" if step in pending else "done"
        lines.append(f"  {state:>10}  {step.name}")
        lines += [f"              {shlex.join(step.command)}"] if commands else []
    notes = _notes(pending, estimates)
    return "\n".join([*lines, *([""] if notes else []), *notes])


def write_graph(plan: Plan, file: Path) -> None:
    """Write the plan as a graph: Mermaid (.mmd), Graphviz (.dot), or SVG (.svg) if Graphviz is installed.

    Raises:
        FinError: unknown suffix, Graphviz is missing or fails, or the file cannot be written.
    """
    content: str | bytes
    if file.suffix == ".mmd":
        content = mermaid_graph(plan)
    elif file.suffix == ".dot":
        content = graphviz_graph(plan)
    elif file.suffix == ".svg":
        content = _render_svg(plan, file)
    else:
        raise FinError(f"--dag {file}: must end in .mmd (Mermaid), .dot (Graphviz) or .svg, or be - for Graphviz text")
    try:
        write_file(file, content)
    except OSError as error:
        raise FinError(f"--dag {file}: cannot be written ({error.strerror or error})") from error


def graphviz_graph(plan: Plan) -> str:
    """The plan in Graphviz's language."""
    lines = ["digraph plan {", "  rankdir=LR", '  node [shape=box, style="rounded,filled", fontname="sans-serif"]']
    for step in plan.steps:
        lines.append(f'  {_quote(step.name)} [label={_quote(_label(plan, step))}, fillcolor="{_COLOURS[step.kind]}"]')
    lines += [f"  {_quote(earlier)} -> {_quote(later)}" for earlier, later in dependencies(plan)]
    return "\n".join([*lines, "}", ""])


def mermaid_graph(plan: Plan) -> str:
    """The plan in Mermaid's language, which GitHub and GitLab draw in Markdown."""
    ids = {step.name: f"s{number}" for number, step in enumerate(plan.steps)}
    lines = ["flowchart LR", *(f'  {ids[step.name]}["{_label(plan, step)}"]:::{step.kind}' for step in plan.steps)]
    lines += [f"  {ids[earlier]} --> {ids[later]}" for earlier, later in dependencies(plan)]
    lines += [f"  classDef {kind} fill:{colour},color:#000" for kind, colour in _COLOURS.items()]
    return "\n".join([*lines, ""])


def dependencies(plan: Plan) -> list[tuple[str, str]]:
    """Pairs of step names, the earlier one first; results of earlier runs have no step."""
    makers = {path: step.name for step in plan.steps for path in step.markers}
    pairs = [(makers[path], step.name) for step in plan.steps for path in step.needs if path in makers]
    return list(dict.fromkeys(pairs))


def _render_svg(plan: Plan, file: Path) -> bytes:
    program = shutil.which("dot")
    if program is None:
        raise FinError(f"--dag {file}: Graphviz (`dot`) is not installed: install it, or write a .mmd or .dot file")
    text = graphviz_graph(plan).encode()
    result = subprocess.run([program, "-Tsvg"], input=text, capture_output=True, check=False)
    if result.returncode:
        message = first_line(RuntimeError(result.stderr.decode(errors="replace")))
        raise FinError(f"--dag {file}: `dot -Tsvg` failed ({message}): write a .mmd or .dot file instead")
    return result.stdout


def _label(plan: Plan, step: Step) -> str:
    return (_COMPLETE if plan.is_complete(step) else "") + step.name


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _notes(pending: Sequence[Step], estimates: Mapping[str, Estimate]) -> list[str]:
    marks = {_BASIS_MARKS[estimates[step.name].basis] for step in pending}
    notes = [note for mark, note in _NOTES.items() if mark in marks]
    has_unknown_size = any(step.kind != "board" and not step.parameters for step in pending)
    return [*notes, *([_UNKNOWN_SIZE] if has_unknown_size else [])]


def _table(plan: Plan, pending: Sequence[Step], estimates: Mapping[str, Estimate]) -> list[str]:
    header = ("", "to do", "done", "engine starts", "rows", "time", "disk")
    rows: list[tuple[str, ...]] = [header]
    for kind in get_args(Kind):
        steps = of_kind(plan.steps, kind)
        if steps:
            rows.append((kind, *_cells(steps, of_kind(pending, kind), estimates)))
    rows.append(("all", *_cells(plan.steps, pending, estimates)))
    return format_columns(rows)


def format_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a plain-text table: the first column to the left, all others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]))
    return lines


def _cells(steps: Sequence[Step], pending: Sequence[Step], estimates: Mapping[str, Estimate]) -> tuple[str, ...]:
    return (
        str(len(pending)),
        str(len(steps) - len(pending)),
        str(sum(step.engines for step in pending)),
        f"{sum(step.rows for step in pending):,}",
        duration(sum(estimates[step.name].seconds for step in pending)),
        size(sum(estimates[step.name].bytes for step in pending)),
    )


def _as_data(
    plan: Plan, pending: Sequence[Step], estimates: Mapping[str, Estimate], parallel_seconds: float | None
) -> dict[str, Any]:
    return {
        "name": plan.name,
        "work": str(plan.work),
        "to_do": len(pending),
        "engines": sum(step.engines for step in pending),
        "rows": sum(step.rows for step in pending),
        "seconds": round(sum(estimates[step.name].seconds for step in pending)),
        "seconds_side_by_side": None if parallel_seconds is None else round(parallel_seconds),
        "bytes": sum(estimates[step.name].bytes for step in pending),
        "steps": [_step_data(step, estimates[step.name], step not in pending) for step in plan.steps],
    }


def _step_data(step: Step, estimate: Estimate, is_complete: bool) -> dict[str, Any]:
    fields = ("name", "kind", "key", "command", "needs", "rows", "engines")
    return {
        **{field: getattr(step, field) for field in fields},
        "seconds": round(estimate.seconds),
        "bytes": estimate.bytes,
        "basis": estimate.basis,
        "done": is_complete,
    }
