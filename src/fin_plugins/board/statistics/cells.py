"""One entry's figures: the four metrics and the rates with intervals, and what always answering one label scores."""

import numpy as np
from numpy.typing import NDArray

from fin_plugins.board.model import METRICS, RATES, Cell, Entry, Estimate, Side
from fin_plugins.board.statistics.sampled import Sampled
from fin_plugins.stats.intervals import percentile, wilson
from fin_plugins.stats.joint import resample
from fin_plugins.stats.metrics import confusion
from fin_plugins.tasks.parser import AMBIGUOUS, MISSING

_ANSWERS = dict(zip(RATES, (MISSING, AMBIGUOUS), strict=True))
_MANY = 0.05


def cells_of(sampled: Sampled) -> dict[tuple[str, str], Cell]:
    """The cells of a column, by its key and model."""
    low, high = percentile(sampled.joint.replicates)
    floors = _floors(sampled)
    cells = {}
    for entry in sampled.column.entries:
        if (place := sampled.places.get(entry.model)) is not None:
            ends = zip(sampled.joint.observed[place].tolist(), low[place].tolist(), high[place].tolist(), strict=True)
            figures = {metric: Estimate(*one) for metric, one in zip(METRICS, ends, strict=True)}
            cell = _with_documents(entry, figures, floors, sampled.gold, sampled.answers[place])
        else:
            cell = _as_reported(entry)
        cells[sampled.column.key, entry.model] = cell
    return cells


def _with_documents(
    entry: Entry,
    figures: dict[str, Estimate],
    floors: dict[str, float],
    gold: NDArray[np.int64],
    answers: NDArray[np.int64],
) -> Cell:
    if entry.protocol == "gen":
        figures |= {rate: _rate(int((answers == code).sum()), len(answers)) for rate, code in _ANSWERS.items()}
    sides = {metric: side for metric in METRICS if (side := floor_side(figures[metric], floors[metric]))}
    return Cell(entry, figures, floors, sides, _many_missing(figures), confusion(gold, answers, len(entry.labels)))


def floor_side(figure: Estimate, floor: float) -> Side | None:
    """Where the interval lies if not wholly above the floor."""
    if figure.low is None or figure.high is None or figure.low > floor:
        return None
    return "under" if figure.high < floor else "at"


def _as_reported(entry: Entry) -> Cell:
    """Without documents: the harness's figures, and no interval."""
    names = METRICS + (RATES if entry.protocol == "gen" else ())
    figures = {name: Estimate(entry.reported[name], None, None) for name in names if name in entry.reported}
    return Cell(entry, figures, {}, {}, _many_missing(figures), None)


def _rate(found: int, documents: int) -> Estimate:
    """A share with Wilson's interval: a bootstrap of no missing answer would be sure that none can be missing."""
    return Estimate(found / documents, *wilson(found, documents))


def _many_missing(figures: dict[str, Estimate]) -> bool:
    return "missing" in figures and figures["missing"].value > _MANY


def _floors(sampled: Sampled) -> dict[str, float]:
    """What always answering the most frequent gold label scores, by metric."""
    if not sampled.models:
        return {}
    labels = next(len(entry.labels) for entry in sampled.column.entries if entry.model == sampled.models[0])
    constant = np.full_like(sampled.gold, np.bincount(sampled.gold).argmax())
    observed = resample(sampled.gold, constant[None], labels, draws=0).observed[0]
    return dict(zip(METRICS, observed.tolist(), strict=True))
