"""A study as a table for people: `study.md`."""

from collections.abc import Iterator
from pathlib import Path

from fin_plugins.common.markdown import escape, single_line, table_cell
from fin_plugins.merging.search import choice
from fin_plugins.merging.search.config import Floor, SearchConfig
from fin_plugins.merging.search.study import Candidate, Figure, Study
from fin_plugins.training.report.record import write_text

FILE = "study.md"


SAMPLE = "Embedded sample rows (FIN_DATA=sample): no benchmark, and no ground to choose a merge by."


def write_report(folder: Path, name: str, config: SearchConfig, study: Study, *, sample: bool) -> None:
    """Write the table, the best candidates first; `sample` is for embedded rows, and said."""
    lines = _lines(name, config, study)
    write_text(folder / FILE, "\n".join([next(lines), *(["", f"**{SAMPLE}**"] if sample else []), *lines]) + "\n")


def _lines(name: str, config: SearchConfig, study: Study) -> Iterator[str]:
    base = study.base or {}
    yield f"# Search {escape(name)}"
    yield ""
    yield (
        f"{len(study.candidates)} candidates by `{config.sampler}`, scored on validation rows only (at most "
        f"{config.rows} a task): mean {escape(config.metric)} over {', '.join(table_cell(task) for task in base)}. The "
        f"base alone: {sum(base.values()) / max(1, len(base)):.3f}."
    )
    yield ""
    yield outcome(config.floor, study)
    yield from _other(config, study)
    yield ""
    yield (
        "*Left out*: the worst change against the base on one expert's tasks, merged without that expert. "
        "*Divergence*: of the next token from the base's on unlabelled prompts, in nats. In brackets: 95 % intervals "
        "over rows. The best of many scores is too high by chance: score `best/` on test rows before it is believed."
    )
    yield ""
    experts = list(config.experts)
    heads = ["#", *(table_cell(expert) for expert in experts), "seen", "left out", "without", "divergence", "floor"]
    yield _row(heads)
    yield _row(["---:"] * len(heads))
    for one in sorted(study.candidates, key=lambda one: (choice.broken(one, config.floor) > 0, -one.seen.value)):
        yield _row(_cells(one, experts, config.floor))


def outcome(floor: Floor, study: Study) -> str:
    """Which candidate won, in a sentence."""
    best = choice.best(study.candidates, floor)
    if best is not None:
        merge = "" if any(best.weights.values()) else " That is the base alone: there is no merge to write."
        return f"Best: candidate {best.candidate}, {weights(best)}: seen {best.seen.value:.3f}.{merge}"
    near = choice.nearest(study.candidates, floor)
    return (
        f"No candidate keeps the floor. Nearest: candidate {near.candidate}, {weights(near)}: seen "
        f"{near.seen.value:.3f}, left out {near.leave_out.value:+.3f}, divergence {near.divergence.value:.3f}."
    )


def _other(config: SearchConfig, study: Study) -> Iterator[str]:
    """What `best/` holds where that is not the best."""
    written = choice.written(study.candidates, config)
    if written is not None and written != choice.best(study.candidates, config.floor):
        yield f"`best/` holds candidate {written.candidate}, as `otherwise: nearest` asks."


def weights(candidate: Candidate) -> str:
    """A candidate's weights, as `fomc 0.4, sentiment 0.6`."""
    return ", ".join(f"{single_line(name)} {weight:g}" for name, weight in candidate.weights.items())


def _cells(one: Candidate, experts: list[str], floor: Floor) -> list[str]:
    kept = "kept" if choice.broken(one, floor) == 0 else "broken"
    own = [f"{one.weights[expert]:g}" for expert in experts]
    figures = [_figure(one.seen), _figure(one.leave_out, "+"), table_cell(one.worst), _figure(one.divergence)]
    return [str(one.candidate), *own, *figures, kept]


def _figure(figure: Figure, sign: str = "") -> str:
    return f"{figure.value:{sign}.3f} [{figure.low:{sign}.3f}, {figure.high:{sign}.3f}]"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
