"""Synthetic boards: outcomes from a seed, so that counts, scores and confusion matrices are consistent.

Intervals are roughly normal, ranks and Holm's p only plausible: enough for rendering, which does not check them.
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np

from fin_plugins.board.board_data import (
    METRICS,
    Board,
    Cell,
    Column,
    Conditions,
    Contrast,
    Documents,
    Entry,
    Estimate,
    Forgetting,
    Group,
    Mean,
    Problem,
    Protocol,
    PublishedResult,
    Rank,
    Source,
)
from fin_plugins.board.statistics.build_board import floor_side
from fin_plugins.stats.metrics import confusion, majority_floor, scores

LABELS = {
    "fin_fpb": ("positive", "negative", "neutral"),
    "fin_fiqa": ("positive", "negative", "neutral"),
    "fin_headline": ("price up", "price down", "no change"),
    "fin_finred": tuple(f"relation {number}" for number in range(29)),
    "fin_fomc": ("hawkish", "dovish", "neutral"),
    "fin_argument": ("premise", "claim"),
    "fin_deal": ("complete", "rumour"),
    "fin_causal": ("noise", "causal"),
}
TASKS = ("fin_fpb", "fin_finred", "fin_argument", "fin_deal")
UNSEEN = ("fin_argument", "fin_deal", "fin_causal")
SCRIPT = "<script>document.title='broken in'</script><img src=x onerror=\"document.title='broken in'\">"
QUOTES = """it's "quoted" {{ 7 * 7 }} & <b>bold</b> | pipes | `ticks` $x_1$ \\alpha %"""
RIGHT_TO_LEFT = "מודל שפה פיננסי \u202egnp.exe"
LONG = "a-very-long-name-" * 17 + "the-end-at-300"
HOSTILE_NAMES = (SCRIPT, QUOTES, RIGHT_TO_LEFT, LONG)
MODELS = ("base", "multi-task", "fomc", "sentiment")
DATE = 1_760_000_000.0
SAMPLE_WORDS = "the embedded sample rows"
LIMIT_WORDS = "10 documents only"
PUBLISHED = PublishedResult(
    model="Paper-7B",
    setting="multi-task LoRA",
    figures={
        "fin_fpb": {"acc": 0.861, "weighted_f1": 0.858},
        "fin_fomc": {"weighted_f1": 0.612},
        "fin_deal": {"weighted_f1": 0.83},
    },
    place="arXiv 2411.02476, table 3",
)


@cache
def board(
    models: tuple[str, ...] = MODELS, tasks: tuple[str, ...] = TASKS, size: int = 60, texts: bool = False
) -> Board:
    """A board with everything: both protocols, sample and real rows, a limit, a run without samples, published rows."""
    full = [_column(task, protocol, models, size, texts) for task in tasks for protocol in ("choice", "gen")]
    sample = _column(tasks[0], "choice", models, 12, texts, data="sample", key=f"{tasks[0]}~2", words=SAMPLE_WORDS)
    limited = _column(tasks[-1], "choice", models[:2], 10, texts, limit="10", key=f"{tasks[-1]}~2", words=LIMIT_WORDS)
    columns = (*full[:-1], _without_samples(full[-1], models[-1]), sample, limited)
    cells = {(column.key, entry.model): _cell(column, entry) for column in columns for entry in column.entries}
    means = _means(columns, cells, models)
    contrasts = _contrasts(columns, cells)
    return Board(
        columns=columns,
        cells=cells,
        means=means,
        ranks=_ranks(means),
        contrasts=contrasts,
        forgetting=_forgetting(columns, cells, models),
        published=(PUBLISHED, replace(PUBLISHED, model=models[-1], setting="zero-shot")),
        older=(replace(full[0].entries[0], notes=("A newer run under the same conditions replaces it.",)),),
        problems=(
            Problem("runs/broken.json", "cut off in the middle: left out", True),
            Problem("runs/results.json", "weighted_f1 differs from the samples' by 0.02: shown as computed", False),
        ),
        made_with={"fin-plugins": "0.1.0", "seed": "20241102", "draws": "10000"},
        tests=len(contrasts) + 1,
    )


def hostile() -> Board:
    """Model names that try to be markup or formulas, or are wider than the page."""
    return board(("base", *HOSTILE_NAMES), size=20, texts=True)


def empty() -> Board:
    """A board without results."""
    parts = ("means", "ranks", "contrasts", "forgetting", "published", "older", "columns")
    problems = (Problem("runs", "no result file", True),)
    return Board(cells={}, problems=problems, made_with={}, **dict.fromkeys(parts, ()))  # type: ignore[arg-type]


def _column(
    task: str,
    protocol: Protocol,
    models: Sequence[str],
    size: int,
    texts: bool,
    *,
    data: str = "real",
    limit: str | None = None,
    key: str = "",
    words: str = "",
) -> Column:
    key = key or task + ("_gen" if protocol == "gen" else "")
    conditions = Conditions(data, f"{zlib.crc32(key.encode()):08x}" * 8, "1.0", "c0ffee" * 10, 0, True, limit)
    entries = tuple(_entry(model, task, protocol, conditions, size, texts) for model in models)
    title = task.removeprefix("fin_") + (f" ({words})" if words else "")
    explanation = f"Kept apart from the task's other columns; here: {words}." if words else ""
    return Column(key, title, task, protocol, task not in UNSEEN, conditions, explanation, entries)


def _entry(model: str, task: str, protocol: Protocol, conditions: Conditions, size: int, texts: bool) -> Entry:
    labels = LABELS[task]
    weights = 1 / np.arange(1, len(labels) + 1)
    gold = np.random.default_rng(_seed(task)).choice(len(labels), size, p=weights / weights.sum())
    documents = _documents(gold, model, task, protocol, len(labels), texts)
    return Entry(
        model=model,
        base=None if model == "base" else "base",
        task=task,
        protocol=protocol,
        seen=task not in UNSEEN,
        labels=labels,
        n=size,
        reported=asdict(scores(documents.gold.tolist(), documents.answers.tolist(), len(labels))),
        documents=documents,
        conditions=conditions,
        source=Source(f"runs/{_seed(model):08x}.json", DATE, "0.4.12", "vllm", {"dtype": "bfloat16"}),
        notes=("Only some rows: figures are not those of the whole test set.",) if conditions.limit else (),
    )


def _documents(
    gold: np.ndarray[Any, Any], model: str, task: str, protocol: Protocol, labels: int, texts: bool
) -> Documents:
    """Mostly correct answers, by a skill that depends on model and task; with generation, some name no label."""
    rng = np.random.default_rng(_seed(f"{model}/{task}/{protocol}"))
    skill = 0.3 + 0.6 * rng.random() if model != "base" else 0.45
    skill = 0.0 if (model, task) == ("fomc", "fin_argument") else skill  # at the floor
    answers = np.where(rng.random(len(gold)) < skill, gold, rng.integers(0, labels, len(gold)))
    if protocol == "gen":
        answers = np.where(rng.random(len(gold)) < 0.12 * rng.random(), -1, answers)
        answers = np.where(rng.random(len(gold)) < 0.02, -2, answers)
    return Documents(
        hashes=tuple(f"{_seed(f'{task}{number}'):08x}" for number in range(len(gold))),
        gold=gold.astype(np.int64),
        answers=answers.astype(np.int64),
        texts=tuple(f"Document {number} of {task}: {SCRIPT}" for number in range(len(gold))) if texts else None,
        replies=tuple(f"I say {answer}. {SCRIPT}" for answer in answers) if texts and protocol == "gen" else None,
    )


def _without_samples(column: Column, model: str) -> Column:
    entries = (replace(entry, documents=None) if entry.model == model else entry for entry in column.entries)
    return replace(column, entries=tuple(entries))


def _seed(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def _cell(column: Column, entry: Entry) -> Cell:
    if entry.documents is None:
        reported = {metric: Estimate(value, None, None) for metric, value in entry.reported.items()}
        return Cell(entry, reported, {}, {}, False, None)
    gold, answers = entry.documents.gold.tolist(), entry.documents.answers.tolist()
    figures = {metric: _normal_interval(entry.reported[metric], entry.n, metric == "mcc") for metric in METRICS}
    if column.protocol == "gen":
        figures |= {"missing": _normal_interval(answers.count(-1) / entry.n, entry.n)}
        figures |= {"ambiguous": _normal_interval(answers.count(-2) / entry.n, entry.n)}
    floors = _floors(tuple(gold), len(entry.labels))
    sides = {metric: side for metric in METRICS if (side := floor_side(figures[metric], floors[metric]))}
    many_missing = "missing" in figures and figures["missing"].value > 0.05
    return Cell(entry, figures, floors, sides, many_missing, confusion(gold, answers, len(entry.labels)))


@cache
def _floors(gold: tuple[int, ...], labels: int) -> dict[str, float]:
    return asdict(majority_floor(gold, labels))


def _normal_interval(value: float, n: int, signed: bool = False) -> Estimate:
    width = 1.96 * math.sqrt(max(value * (1 - value), 0.01) / n)
    return Estimate(value, max(value - width, -1.0 if signed else 0.0), min(value + width, 1.0))


def _means(columns: Sequence[Column], cells: dict[tuple[str, str], Cell], models: Sequence[str]) -> tuple[Mean, ...]:
    """Means over the real columns without a limit; the second model's unseen mean lacks a task."""
    groups: dict[Group, tuple[bool, ...]] = {"seen": (True,), "unseen": (False,), "all": (True, False)}
    means = []
    for protocol in ("choice", "gen"):
        protocol_columns = [column for column in columns if column.protocol == protocol and "~" not in column.key]
        for group, kinds in groups.items():
            for number, model in enumerate(models):
                missing = ("fin_deal",) if number == 1 and group == "unseen" and protocol == "gen" else ()
                keys = tuple(
                    column.key for column in protocol_columns if column.seen in kinds and column.task not in missing
                )
                figures = {metric: _mean([cells[key, model].figures[metric] for key in keys]) for metric in METRICS}
                means.append(Mean(model, protocol, group, figures, keys, missing))
    return tuple(means)


def _mean(estimates: Sequence[Estimate]) -> Estimate:
    """Without an interval if a figure has none."""
    value = float(np.mean([estimate.value for estimate in estimates]))
    widths = [
        estimate.high - estimate.low for estimate in estimates if estimate.high is not None and estimate.low is not None
    ]
    if len(widths) < len(estimates):
        return Estimate(value, None, None)
    half = math.hypot(*widths) / len(widths) / 2
    return Estimate(value, value - half, min(value + half, 1.0))


def _ranks(means: Sequence[Mean]) -> tuple[Rank, ...]:
    ranks = []
    for metric in METRICS:
        for protocol, group in {(mean.protocol, mean.group): None for mean in means}:
            ranked = [mean for mean in means if (mean.protocol, mean.group) == (protocol, group) and not mean.missing]
            ranked.sort(key=lambda mean: -mean.figures[metric].value)
            for rank, mean in enumerate(ranked, start=1):
                has_interval = mean.figures[metric].low is not None
                ends = (max(rank - 1, 1), min(rank + 1, len(ranked))) if has_interval else (None, None)
                ranks.append(Rank(mean.model, protocol, group, metric, rank, *ends))
    return tuple(ranks)


def _contrasts(columns: Sequence[Column], cells: dict[tuple[str, str], Cell]) -> tuple[Contrast, ...]:
    """All pairs with documents, except those of the last column, which the page must compute itself."""
    return tuple(
        _contrast(column.key, cells[column.key, first.model], cells[column.key, second.model])
        for column in columns[:-1]
        for first, second in combinations(column.entries, 2)
        if first.documents is not None and second.documents is not None
    )


def _contrast(key: str, first: Cell, second: Cell) -> Contrast:
    """Counts and p are correct, intervals only plausible."""
    assert first.entry.documents is not None and second.entry.documents is not None
    first_correct, second_correct = (
        cell.entry.documents.gold == cell.entry.documents.answers  # type: ignore[union-attr]
        for cell in (first, second)
    )
    only_first, only_second = int((first_correct & ~second_correct).sum()), int((second_correct & ~first_correct).sum())
    discordant = only_first + only_second
    tail = sum(math.comb(discordant, k) for k in range(min(only_first, only_second) + 1)) / 2**discordant
    p = min(1.0, 2 * tail)  # exact McNemar test, two-sided
    spread = 1.96 * math.sqrt(max(discordant, 1)) / first.entry.n
    changes = {metric: second.figures[metric].value - first.figures[metric].value for metric in METRICS}
    return Contrast(
        column=key,
        first=first.entry.model,
        second=second.entry.model,
        differences={metric: Estimate(value, value - spread, value + spread) for metric, value in changes.items()},
        only_first=only_first,
        only_second=only_second,
        p=p,
        p_holm=min(1.0, 20 * p),
        detectable=spread * 1.43,
        n=len(first_correct),
    )


def _forgetting(
    columns: Sequence[Column], cells: dict[tuple[str, str], Cell], models: Sequence[str]
) -> tuple[Forgetting, ...]:
    """Every model relative to the first; the second is the reference."""
    forgetting = []
    for protocol in ("choice", "gen"):
        protocol_columns = [column for column in columns if column.protocol == protocol and "~" not in column.key]
        for model in models[1:]:
            changes = {
                column.key: _change(cells[column.key, models[0]], cells[column.key, model])
                for column in protocol_columns
            }
            unseen = {column.key: changes[column.key] for column in protocol_columns if not column.seen}
            gain = float(np.mean([changes[column.key].value for column in protocol_columns if column.seen]))
            backward = float(np.mean([change.value for change in unseen.values()]))
            forgetting.append(
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
                    backward=Estimate(backward, backward - 0.05, backward + 0.05),
                )
            )
    return tuple(forgetting)


def _change(before: Cell, after: Cell) -> Estimate:
    value = after.figures["weighted_f1"].value - before.figures["weighted_f1"].value
    has_interval = after.figures["weighted_f1"].low is not None
    return Estimate(value, value - 0.06 if has_interval else None, value + 0.06 if has_interval else None)
