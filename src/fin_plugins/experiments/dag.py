"""A plan, drawn: a box a step, left to right in the order in which they can run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.common.errors import FinError
from fin_plugins.experiments.config import Kind
from fin_plugins.experiments.steps import Plan
from fin_plugins.training.report.record import write_text
from fin_plugins.training.report.svg import write_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS: Mapping[Kind, str] = {
    "train": "#dbe9f6",
    "merge": "#fde6cd",
    "search": "#f9d4d4",
    "score": "#dff0d8",
    "board": "#e6e0f0",
}
_EDGE, _DONE = "#9aa5b1", "✓ "
_WIDE, _GAP, _HIGH = 2.6, 1.1, 0.34  # inches: a box, the space between columns, a row
_SWEEPS = 4

Places = dict[str, tuple[int, float]]
"""Column and row of each step, by name."""


def draw(plan: Plan, to: Path) -> None:
    """Write the plan as a drawing (.svg) or as Graphviz text (.dot).

    Raises:
        FinError: the ending is neither, matplotlib is missing, or the file cannot be written.
    """
    if to.suffix == ".dot":
        write_text(to, dot(plan))
    elif to.suffix == ".svg":
        write_svg(lambda: _figure(plan), to, extra="run")
    else:
        raise FinError(f"--dag {to}: should end in .svg or .dot, or be - for Graphviz text")


def dot(plan: Plan) -> str:
    """The plan in Graphviz's language."""
    lines = ["digraph plan {", "  rankdir=LR", '  node [shape=box, style="rounded,filled", fontname="sans-serif"]']
    for step in plan.steps:
        label = json.dumps(_label(plan, step.name), ensure_ascii=False)
        lines.append(f'  {json.dumps(step.name)} [label={label}, fillcolor="{_COLOURS[step.kind]}"]')
    lines += [f"  {json.dumps(before)} -> {json.dumps(after)}" for before, after in edges(plan)]
    return "\n".join([*lines, "}", ""])


def edges(plan: Plan) -> list[tuple[str, str]]:
    """Which step stands on which, by name: the earlier one first; what an earlier run made has no step."""
    owner = {path: step.name for step in plan.steps for path in step.markers}
    pairs = [(owner[path], step.name) for step in plan.steps for path in step.needs if path in owner]
    return list(dict.fromkeys(pairs))


def places(plan: Plan) -> Places:
    """Where each box goes: parts with nothing between them, as those of two models, one below another."""
    found: Places = {}
    pairs, top = edges(plan), 0.0
    for names in _parts([step.name for step in plan.steps], pairs):
        own = [pair for pair in pairs if pair[0] in names]
        part = _part(names, own)
        found |= {name: (column, row + top) for name, (column, row) in part.items()}
        top += max(row for _, row in part.values()) + 1.6
    return found


def _parts(names: list[str], pairs: list[tuple[str, str]]) -> list[list[str]]:
    """The names in groups that no pair connects."""
    group = {name: {name} for name in names}
    for before, after in pairs:
        if group[before] is not group[after]:
            group[before] |= group[after]
            group |= dict.fromkeys(group[after], group[before])
    first = dict.fromkeys(id(group[name]) for name in names)
    return [[name for name in names if id(group[name]) == one] for one in first]


def _part(names: list[str], pairs: list[tuple[str, str]]) -> Places:
    """Each step in the column after the last one that it needs, near the middle of its neighbours."""
    column: dict[str, int] = {}
    for name in names:
        column[name] = max((column[before] + 1 for before, after in pairs if after == name), default=0)
    columns = [[name for name in names if column[name] == number] for number in range(max(column.values()) + 1)]
    rows = {name: float(row) for members in columns for row, name in enumerate(members)}
    for sweep in range(_SWEEPS):
        for members in columns if sweep % 2 == 0 else columns[::-1]:
            _order(members, rows, pairs, forward=sweep % 2 == 0)
    most = max(map(len, columns))
    rows = {name: row + (most - len(members)) / 2 for members in columns for row, name in enumerate(members)}
    return {name: (column[name], rows[name]) for name in names}


def _order(names: list[str], rows: dict[str, float], pairs: list[tuple[str, str]], *, forward: bool) -> None:
    """Sort a column by where the steps before it, or after it, stand: fewer lines cross."""

    def middle(name: str) -> float:
        near = [rows[a if forward else b] for a, b in pairs if (b if forward else a) == name]
        return sum(near) / len(near) if near else rows[name]

    names.sort(key=middle)
    for row, name in enumerate(names):
        rows[name] = float(row)


def _figure(plan: Plan) -> "Figure":
    from matplotlib.figure import Figure

    at = places(plan)
    columns, rows = 1 + max(x for x, _ in at.values()), 1 + max(y for _, y in at.values())
    figure = Figure(figsize=(columns * (_WIDE + _GAP) - _GAP + 0.4, rows * _HIGH + 0.9))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-0.2, columns * (_WIDE + _GAP) - _GAP + 0.2), ylim=(rows * _HIGH + 0.3, -0.6))
    axes.axis("off")
    _boxes(axes, plan, at)
    return figure


def _boxes(axes: "Axes", plan: Plan, at: Places) -> None:
    from matplotlib.patches import FancyBboxPatch

    done = sum(map(plan.done, plan.steps))
    axes.text(0, -0.4, f"{plan.name}: {len(plan.steps)} steps, {done} done ({_DONE.strip()})", fontsize=10, va="center")
    for before, after in edges(plan):
        axes.plot(*_line(at[before], at[after]), color=_EDGE, linewidth=0.6, zorder=1)
    for step in plan.steps:
        x, y = _corner(at[step.name])
        faded: dict[str, Any] = {"alpha": 0.45} if plan.done(step) else {}
        axes.add_patch(
            FancyBboxPatch(
                (x, y + 0.05),
                _WIDE,
                _HIGH - 0.1,
                boxstyle="round,pad=0,rounding_size=0.06",
                facecolor=_COLOURS[step.kind],
                edgecolor=_EDGE,
                linewidth=0.8,
                zorder=2,
                **faded,
            )
        )
        label = _label(plan, step.name)
        axes.text(x + 0.1, y + _HIGH / 2, label, fontsize=min(8, 290 / len(label)), va="center", zorder=3)


def _corner(place: tuple[int, float]) -> tuple[float, float]:
    return place[0] * (_WIDE + _GAP), place[1] * _HIGH


def _line(before: tuple[int, float], after: tuple[int, float]) -> tuple[list[float], list[float]]:
    """A soft curve from the right of one box to the left of another."""
    (x0, y0), (x1, y1) = _corner(before), _corner(after)
    x0, y0, y1 = x0 + _WIDE, y0 + _HIGH / 2, y1 + _HIGH / 2
    steps = [number / 20 for number in range(21)]
    return [x0 + (x1 - x0) * t for t in steps], [y0 + (y1 - y0) * t * t * (3 - 2 * t) for t in steps]


def _label(plan: Plan, name: str) -> str:
    step = next(step for step in plan.steps if step.name == name)
    return (_DONE if plan.done(step) else "") + name
