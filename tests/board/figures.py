"""The figures of made-up boards: scores and counts are right, intervals, ranks and Holm's p only look right."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Literal

import numpy as np

from fin_plugins.board.model import METRICS, Cell, Column, Contrast, Entry, Estimate, Forgetting, Mean, Rank
from fin_plugins.board.statistics.cells import floor_side
from fin_plugins.stats.metrics import confusion, majority_floor, scores


def cell(column: Column, entry: Entry) -> Cell:
    """An entry's figures."""
    if entry.documents is None:
        bare = {metric: Estimate(value, None, None) for metric, value in entry.reported.items()}
        return Cell(entry, bare, {}, {}, False, None)
    gold, answers = entry.documents.gold.tolist(), entry.documents.answers.tolist()
    found = asdict(scores(gold, answers, len(entry.labels)))
    figures = {metric: _around(found[metric], entry.n, metric == "mcc") for metric in METRICS}
    if column.protocol == "gen":
        figures |= {"missing": _around(answers.count(-1) / entry.n, entry.n)}
        figures |= {"ambiguous": _around(answers.count(-2) / entry.n, entry.n)}
    floors = asdict(majority_floor(gold, len(entry.labels)))
    sides = {metric: side for metric in METRICS if (side := floor_side(figures[metric], floors[metric]))}
    many = "missing" in figures and figures["missing"].value > 0.05
    return Cell(entry, figures, floors, sides, many, confusion(gold, answers, len(entry.labels)))


def _around(value: float, n: int, signed: bool = False) -> Estimate:
    width = 1.96 * math.sqrt(max(value * (1 - value), 0.01) / n)
    return Estimate(value, max(value - width, -1.0 if signed else 0.0), min(value + width, 1.0))


def means(columns: Sequence[Column], cells: dict[tuple[str, str], Cell], models: Sequence[str]) -> tuple[Mean, ...]:
    """Over the real, uncut columns; the second model's unseen mean lacks a task."""
    groups: tuple[tuple[Literal["seen", "unseen", "all"], tuple[bool, ...]], ...]
    groups = (("seen", (True,)), ("unseen", (False,)), ("all", (True, False)))
    found = []
    for protocol in ("choice", "gen"):
        whole = [one for one in columns if one.protocol == protocol and "~" not in one.key]
        for group, kinds in groups:
            keys = [one.key for one in whole if one.seen in kinds]
            for number, model in enumerate(models):
                lost = ("fin_deal",) if number == 1 and group == "unseen" and protocol == "gen" else ()
                kept = tuple(key for key in keys if not lost or not key.startswith(lost))
                figures = {metric: _mean([cells[key, model].figures[metric] for key in kept]) for metric in METRICS}
                found.append(Mean(model, protocol, group, figures, kept, lost))
    return tuple(found)


def _mean(estimates: Sequence[Estimate]) -> Estimate:
    """Without an interval where a figure has none."""
    middle = float(np.mean([one.value for one in estimates]))
    widths = [one.high - one.low for one in estimates if one.high is not None and one.low is not None]
    if len(widths) < len(estimates):
        return Estimate(middle, None, None)
    half = math.hypot(*widths) / len(widths) / 2
    return Estimate(middle, middle - half, min(middle + half, 1.0))


def ranks(means: Sequence[Mean]) -> tuple[Rank, ...]:
    found = []
    for metric in METRICS:
        for protocol, group in {(mean.protocol, mean.group): None for mean in means}:
            field = [mean for mean in means if (mean.protocol, mean.group) == (protocol, group) and not mean.missing]
            known = {mean.model: mean.figures[metric].low is not None for mean in field}
            field.sort(key=lambda mean: -mean.figures[metric].value)
            found += [
                Rank(mean.model, protocol, group, metric, place, *_span(place, len(field), known[mean.model]))
                for place, mean in enumerate(field, start=1)
            ]
    return tuple(found)


def _span(place: int, models: int, known: bool) -> tuple[int | None, int | None]:
    return (max(place - 1, 1), min(place + 1, models)) if known else (None, None)


def contrasts(columns: Sequence[Column], cells: dict[tuple[str, str], Cell]) -> tuple[Contrast, ...]:
    """Of every two with documents, less those of the last column, which a page must then compute by itself."""
    return tuple(
        contrast(column.key, cells[column.key, one.model], cells[column.key, two.model])
        for column in columns[:-1]
        for one, two in combinations(column.entries, 2)
        if one.documents is not None and two.documents is not None
    )


def contrast(key: str, first: Cell, second: Cell) -> Contrast:
    """Counts and p are right; the intervals only look right."""
    one, two = first.entry.documents, second.entry.documents
    assert one is not None and two is not None
    right, also = one.gold == one.answers, two.gold == two.answers
    only_first, only_second = int((right & ~also).sum()), int((also & ~right).sum())
    p = mcnemar(only_first, only_second)
    changes = {metric: second.figures[metric].value - first.figures[metric].value for metric in METRICS}
    spread = 1.96 * math.sqrt(max(only_first + only_second, 1)) / first.entry.n
    differences = {metric: Estimate(value, value - spread, value + spread) for metric, value in changes.items()}
    names = first.entry.model, second.entry.model
    return Contrast(key, *names, differences, only_first, only_second, p, min(1.0, 20 * p), spread * 1.43, len(right))


def mcnemar(one: int, other: int) -> float:
    """Exact, two-sided."""
    tail = sum(math.comb(one + other, k) for k in range(min(one, other) + 1)) / 2 ** (one + other)
    return min(1.0, 2 * tail)


def forgetting(
    columns: Sequence[Column], cells: dict[tuple[str, str], Cell], models: Sequence[str]
) -> tuple[Forgetting, ...]:
    """Every model but the first, against it; the second is the reference."""
    found = []
    for protocol in ("choice", "gen"):
        whole = [one for one in columns if one.protocol == protocol and "~" not in one.key]
        for model in models[1:]:
            changes = {one.key: _change(cells[one.key, models[0]], cells[one.key, model]) for one in whole}
            unseen = {one.key: changes[one.key] for one in whole if not one.seen}
            gains = [changes[one.key].value for one in whole if one.seen]
            gain, back = float(np.mean(gains)), float(np.mean([one.value for one in unseen.values()]))
            found.append(
                Forgetting(
                    model=model,
                    baseline=models[0],
                    reference=models[1],
                    protocol=protocol,
                    metric="weighted_f1",
                    unseen=unseen,
                    worst=min(unseen, key=lambda key: unseen[key].value),
                    seen_gain=Estimate(gain, gain - 0.03, gain + 0.03),
                    kept=None if protocol == "gen" else Estimate(gain / 0.2, gain / 0.2 - 0.1, gain / 0.2 + 0.1),
                    backward=Estimate(back, back - 0.05, back + 0.05),
                )
            )
    return tuple(found)


def _change(before: Cell, after: Cell) -> Estimate:
    value = after.figures["weighted_f1"].value - before.figures["weighted_f1"].value
    known = after.figures["weighted_f1"].low is not None
    return Estimate(value, value - 0.06 if known else None, value + 0.06 if known else None)
