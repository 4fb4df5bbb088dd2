"""Made-up boards: outcomes from a seed, so that counts, scores and confusion matrices belong together.

Intervals are only as wide as normal ones, ranks and contrasts are rough: rendering must show them, not believe them.
"""

import zlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from fin_plugins.board.model import (
    Board,
    Column,
    Conditions,
    Documents,
    Entry,
    Problem,
    Protocol,
    Published,
    Source,
)
from fin_plugins.stats.metrics import scores
from tests.board import figures

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
SOME = ("fin_fpb", "fin_finred", "fin_argument", "fin_deal")
UNSEEN = ("fin_argument", "fin_deal", "fin_causal")
SCRIPT = "<script>document.title='broken in'</script><img src=x onerror=\"document.title='broken in'\">"
QUOTES = """it's "quoted" {{ 7 * 7 }} & <b>bold</b> | pipes | `ticks` $x_1$ \\alpha %"""
RIGHT_TO_LEFT = "מודל שפה פיננסי \u202egnp.exe"
LONG = "a-very-long-name-" * 17 + "the-end-at-300"
HOSTILE = (SCRIPT, QUOTES, RIGHT_TO_LEFT, LONG)
PLAIN = ("base", "multi-task", "fomc", "sentiment")
DATE = 1_760_000_000.0


def board(models: Sequence[str] = PLAIN, tasks: Sequence[str] = SOME, size: int = 60, texts: bool = False) -> Board:
    """All a board can hold: both protocols, sample and real rows, a limit, an entry without samples, published rows."""
    full = [_column(task, protocol, models, size, texts) for task in tasks for protocol in ("choice", "gen")]
    sample = _column(tasks[0], "choice", models, 12, texts, data="sample", key=f"{tasks[0]}~2", said=SAID_SAMPLE)
    cut = _column(tasks[-1], "choice", models[:2], 10, texts, limit="10", key=f"{tasks[-1]}~2", said=SAID_LIMIT)
    bare = _without_samples(full[-1], models[-1])
    columns = (*full[:-1], bare, sample, cut)
    cells = {(column.key, entry.model): figures.cell(column, entry) for column in columns for entry in column.entries}
    means = figures.means(columns, cells, models)
    contrasts = figures.contrasts(columns, cells)
    return Board(
        columns=columns,
        cells=cells,
        means=means,
        ranks=figures.ranks(means),
        contrasts=contrasts,
        forgetting=figures.forgetting(columns, cells, models),
        published=(PUBLISHED, replace(PUBLISHED, model=models[-1], setting="zero-shot")),
        older=(replace(full[0].entries[0], notes=("A newer run under the same conditions replaces it.",)),),
        problems=(
            Problem("runs/broken.json", "cut off in the middle: left out", True),
            Problem("runs/results.json", "weighted_f1 differs from the samples' by 0.02: shown as computed", False),
        ),
        made_with={"fin-plugins": "0.1.0", "seed": "20241102", "draws": "10000"},
        tests=len(contrasts) + 1,
    )


def large() -> Board:
    """As large as the largest that is expected: 10 models on 16 columns of 1,000 documents."""
    return board([*PLAIN, *(f"adapter {number}" for number in range(6))], tuple(LABELS), 1000)


def hostile() -> Board:
    """Names that try to be markup, formulas, or wider than the page."""
    return board(("base", *HOSTILE), size=20, texts=True)


def empty() -> Board:
    """Nothing could be read."""
    nothing = {"means": (), "ranks": (), "contrasts": (), "forgetting": (), "published": (), "older": ()}
    return Board(columns=(), cells={}, problems=(Problem("runs", "no result file", True),), made_with={}, **nothing)


SAID_SAMPLE = "the embedded sample rows"
SAID_LIMIT = "10 documents only"
PUBLISHED = Published(
    model="Paper-7B",
    setting="multi-task LoRA",
    figures={
        "fin_fpb": {"acc": 0.861, "weighted_f1": 0.858},
        "fin_fomc": {"weighted_f1": 0.612},
        "fin_deal": {"weighted_f1": 0.83},
    },
    place="arXiv 2411.02476, table 3",
)


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
    said: str = "",
) -> Column:
    key = key or task + ("_gen" if protocol == "gen" else "")
    conditions = Conditions(data, f"{zlib.crc32(key.encode()):08x}" * 8, "1.0", "c0ffee" * 10, 0, True, limit)
    entries = tuple(_entry(model, task, protocol, conditions, size, texts) for model in models)
    title = task.removeprefix("fin_") + (f" ({said})" if said else "")
    return Column(key, title, task, protocol, task not in UNSEEN, conditions, _sentence(said), entries)


def _entry(model: str, task: str, protocol: Protocol, conditions: Conditions, size: int, texts: bool) -> Entry:
    labels = LABELS[task]
    gold = np.random.default_rng(_seed(task)).choice(len(labels), size, p=_shares(len(labels)))
    documents = _documents(gold, model, task, protocol, len(labels), texts)
    found = scores(documents.gold.tolist(), documents.answers.tolist(), len(labels))
    return Entry(
        model=model,
        base=None if model == "base" else "base",
        task=task,
        protocol=protocol,
        seen=task not in UNSEEN,
        labels=labels,
        n=size,
        reported=asdict(found),
        documents=documents,
        conditions=conditions,
        source=Source(f"runs/{_seed(model):08x}.json", DATE, "0.4.12", "vllm", {"dtype": "bfloat16"}),
        notes=("Only some rows: figures are not those of the whole test set.",) if conditions.limit else (),
    )


def _documents(
    gold: np.ndarray[Any, Any], model: str, task: str, protocol: Protocol, labels: int, texts: bool
) -> Documents:
    """Mostly right, by a skill that depends on model and task; in generation, some name no label."""
    draw = np.random.default_rng(_seed(f"{model}/{task}/{protocol}"))
    skill = 0.3 + 0.6 * draw.random() if model != "base" else 0.45
    skill = 0.0 if (model, task) == ("fomc", "fin_argument") else skill  # for the mark that it is at the floor
    answers = np.where(draw.random(len(gold)) < skill, gold, draw.integers(0, labels, len(gold)))
    if protocol == "gen":
        answers = np.where(draw.random(len(gold)) < 0.12 * draw.random(), -1, answers)
        answers = np.where(draw.random(len(gold)) < 0.02, -2, answers)
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


def _sentence(said: str) -> str:
    return f"Kept apart from the task's other columns; here: {said}." if said else ""


def _seed(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def _shares(labels: int) -> list[float]:
    weights = [1 / (place + 1) for place in range(labels)]
    return [weight / sum(weights) for weight in weights]
