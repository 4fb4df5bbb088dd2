"""What seen score costs: every candidate by its score and by what is left without an expert, and the front of both."""

from pathlib import Path
from typing import TYPE_CHECKING

from fin_plugins.common.markdown import single_line
from fin_plugins.merging.search import choice
from fin_plugins.merging.search.config import SearchConfig
from fin_plugins.merging.search.study import Candidate, Study
from fin_plugins.merging.search.study import Figure as Figures
from fin_plugins.training.report.svg import write_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FILE = "pareto.svg"
_INCHES = (7.0, 4.6)
_KEPT, _BROKEN, _FRONT, _BEST = "#4269d0", "#9aa0a6", "#2f7d4f", "#c8501e"


def plot(folder: Path, name: str, config: SearchConfig, study: Study) -> None:
    """Write the plot as SVG; the same study, the same bytes.

    Raises:
        FinError: matplotlib is not installed, or the file cannot be written.
    """
    write_svg(lambda: draw(name, config, study), folder / FILE, "merge")


def draw(name: str, config: SearchConfig, study: Study) -> "Figure":
    """The figure: seen score to the right, what is left without an expert upwards."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, layout="constrained")
    axes = figure.subplots()
    broken = [choice.broken(one, config.floor) > 0 for one in study.candidates]
    for label, colour, wanted in (("keeps the floor", _KEPT, False), ("breaks the floor", _BROKEN, True)):
        _points(axes, [one for one, is_broken in zip(study.candidates, broken, strict=True) if is_broken == wanted],
                colour, label)  # fmt: skip
    _draw_front(axes, config, study)
    axes.set_xlabel(f"seen score: mean {config.metric} on validation rows", parse_math=False)
    axes.set_ylabel("worst change without one expert, on its tasks")
    axes.legend(loc="best")
    figure.suptitle(single_line(name)[:80], fontsize=10, parse_math=False)
    return figure


def _points(axes: "Axes", candidates: list[Candidate], colour: str, label: str) -> None:
    if not candidates:
        return
    seen, left = [one.seen for one in candidates], [one.leave_out for one in candidates]
    axes.errorbar(
        [one.value for one in seen],
        [one.value for one in left],
        xerr=_reach(seen),
        yerr=_reach(left),
        fmt="o", markersize=4, linewidth=0.6, alpha=0.6, color=colour, label=f"{label} ({len(candidates)})",
    )  # fmt: skip


def _reach(figures: list[Figures]) -> list[list[float]]:
    """Downwards and upwards; of few rows the interval may not even hold the figure."""
    return [[max(0.0, one.value - one.low) for one in figures], [max(0.0, one.high - one.value) for one in figures]]


def _draw_front(axes: "Axes", config: SearchConfig, study: Study) -> None:
    front = choice.front(study.candidates)
    axes.plot(*_places(front), color=_FRONT, linewidth=1.4, label="front: none is better in both", zorder=3)
    if config.floor.leave_out is not None:
        axes.axhline(config.floor.leave_out, color=_BEST, linewidth=1, linestyle="--", label="floor")
    best = choice.best(study.candidates, config.floor)
    if best is not None:
        axes.plot(
            *_places([best]), "*", color=_BEST, markersize=13, label=f"best: candidate {best.candidate}", zorder=4
        )


def _places(candidates: list[Candidate]) -> tuple[list[float], list[float]]:
    return [one.seen.value for one in candidates], [one.leave_out.value for one in candidates]
