"""A study for people: the table `study.md` and the plot `pareto.svg`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fin_plugins.common.atomic import write_file
from fin_plugins.common.errors import FinError
from fin_plugins.common.markdown import escape, single_line, table, table_cell
from fin_plugins.common.svg import write_svg
from fin_plugins.merging.search.search_config import Floor, SearchConfig
from fin_plugins.merging.search.study import (
    Candidate,
    Estimate,
    Study,
    best_candidate,
    candidate_to_write,
    constraint_violation,
    nearest_candidate,
    pareto_front,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TABLE = "study.md"
PLOT = "pareto.svg"
SAMPLE_WARNING = "Embedded sample rows (FIN_DATA=sample): not a benchmark, and no basis for choosing a merge."

_PLOT_SIZE = (7.0, 4.6)  # inches
_FEASIBLE_COLOUR, _INFEASIBLE_COLOUR, _FRONT_COLOUR, _BEST_COLOUR = "#4269d0", "#9aa0a6", "#2f7d4f", "#c8501e"


def write_study_table(folder: Path, name: str, config: SearchConfig, study: Study, *, sample: bool) -> None:
    """Write `study.md`, the best candidates first; `sample` adds a warning about embedded sample rows.

    Raises:
        FinError: the file cannot be written.
    """
    file = folder / TABLE
    try:
        write_file(file, "\n\n".join(_paragraphs(name, config, study, sample)))
    except OSError as error:
        raise FinError(f"{file}: cannot be written ({error.strerror or error}): free some space") from error


def _paragraphs(name: str, config: SearchConfig, study: Study, sample: bool) -> Iterator[str]:
    base, floor = study.base or {}, config.floor
    yield f"# Search {escape(name)}"
    if sample:
        yield f"**{SAMPLE_WARNING}**"
    yield (
        f"{len(study.candidates)} candidates by `{config.sampler}`, scored on validation rows only (at most "
        f"{config.rows} per task): mean {escape(config.metric)} over "
        f"{', '.join(table_cell(task) for task in base)}. The base alone: {sum(base.values()) / max(1, len(base)):.3f}."
    )
    outcome = format_outcome(floor, study)
    written = candidate_to_write(study.candidates, config)
    if written is not None and written != best_candidate(study.candidates, floor):
        outcome += f"\n`best/` holds candidate {written.candidate}, because of `otherwise: nearest`."
    yield outcome
    yield (
        "*Left out*: the worst change of an expert's tasks against the base when the merge leaves that expert out. "
        "*Divergence*: divergence of the next token from the base's on unlabelled prompts, in nats. In brackets: 95 % "
        "intervals over rows. The best of many scores is too high by chance: score `best/` on test rows before you "
        "believe it."
    )
    experts = list(config.experts)
    header = ["#", *(table_cell(expert) for expert in experts), "seen", "left out", "without", "divergence", "floor"]
    ordered = sorted(study.candidates, key=lambda it: (constraint_violation(it, floor) > 0, -it.seen.value))
    yield table(header, [_table_row(it, experts, floor) for it in ordered], "r" * len(header))


def _table_row(candidate: Candidate, experts: list[str], floor: Floor) -> list[str]:
    return [
        str(candidate.candidate),
        *(f"{candidate.weights[expert]:g}" for expert in experts),
        _format_estimate(candidate.seen),
        _format_estimate(candidate.leave_out, "+"),
        table_cell(candidate.worst),
        _format_estimate(candidate.divergence),
        "kept" if constraint_violation(candidate, floor) == 0 else "broken",
    ]


def _format_estimate(estimate: Estimate, sign: str = "") -> str:
    return f"{estimate.value:{sign}.3f} [{estimate.low:{sign}.3f}, {estimate.high:{sign}.3f}]"


def format_outcome(floor: Floor, study: Study) -> str:
    """The best candidate, or the nearest one if none keeps the floor, in a sentence."""
    best = best_candidate(study.candidates, floor)
    if best is not None:
        note = " That is the base alone: there is no merge to write." if best.is_base else ""
        return f"Best: candidate {best.candidate}, {_format_weights(best)}: seen {best.seen.value:.3f}.{note}"
    nearest = nearest_candidate(study.candidates, floor)
    return (
        f"No candidate keeps the floor. Nearest: candidate {nearest.candidate}, {_format_weights(nearest)}: seen "
        f"{nearest.seen.value:.3f}, left out {nearest.leave_out.value:+.3f}, divergence {nearest.divergence.value:.3f}."
    )


def _format_weights(candidate: Candidate) -> str:
    return ", ".join(f"{single_line(name)} {weight:g}" for name, weight in candidate.weights.items())


def write_pareto_plot(folder: Path, name: str, config: SearchConfig, study: Study) -> None:
    """Write `pareto.svg`: every candidate by seen score and leave-out change, and the Pareto front.

    Raises:
        FinError: matplotlib is not installed, or the file cannot be written.
    """
    write_svg(lambda: _draw_plot(name, config, study), folder / PLOT, "merge")


def _draw_plot(name: str, config: SearchConfig, study: Study) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=_PLOT_SIZE, layout="constrained")
    axes = figure.subplots()
    feasible = [it for it in study.candidates if constraint_violation(it, config.floor) == 0]
    infeasible = [it for it in study.candidates if constraint_violation(it, config.floor) > 0]
    _draw_points(axes, feasible, _FEASIBLE_COLOUR, "keeps the floor")
    _draw_points(axes, infeasible, _INFEASIBLE_COLOUR, "breaks the floor")
    axes.plot(
        *_coordinates(pareto_front(study.candidates)),
        color=_FRONT_COLOUR, linewidth=1.4, label="front: none is better in both", zorder=3,
    )  # fmt: skip
    if config.floor.leave_out is not None:
        axes.axhline(config.floor.leave_out, color=_BEST_COLOUR, linewidth=1, linestyle="--", label="floor")
    best = best_candidate(study.candidates, config.floor)
    if best is not None:
        label = f"best: candidate {best.candidate}"
        axes.plot(*_coordinates([best]), "*", color=_BEST_COLOUR, markersize=13, label=label, zorder=4)
    axes.set_xlabel(f"seen score: mean {config.metric} on validation rows", parse_math=False)
    axes.set_ylabel("worst change without one expert, on its tasks")
    axes.legend(loc="best")
    figure.suptitle(single_line(name)[:80], fontsize=10, parse_math=False)
    return figure


def _draw_points(axes: "Axes", candidates: list[Candidate], colour: str, label: str) -> None:
    if not candidates:
        return
    axes.errorbar(
        *_coordinates(candidates),
        xerr=_error_bars([candidate.seen for candidate in candidates]),
        yerr=_error_bars([candidate.leave_out for candidate in candidates]),
        fmt="o", markersize=4, linewidth=0.6, alpha=0.6, color=colour, label=f"{label} ({len(candidates)})",
    )  # fmt: skip


def _error_bars(estimates: list[Estimate]) -> list[list[float]]:
    """Lengths downwards and upwards; on few rows, the interval may not even contain the value."""
    return [
        [max(0.0, estimate.value - estimate.low) for estimate in estimates],
        [max(0.0, estimate.high - estimate.value) for estimate in estimates],
    ]


def _coordinates(candidates: list[Candidate]) -> tuple[list[float], list[float]]:
    return [it.seen.value for it in candidates], [it.leave_out.value for it in candidates]
