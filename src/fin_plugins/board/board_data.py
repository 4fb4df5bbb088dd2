"""The records of a board. Reading fills them in, statistics adds the figures, rendering formats them.

Many field names are also the keys of `board.json`.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Protocol = Literal["choice", "gen"]
"""How a task is scored: `choice` takes the label of the highest likelihood, `gen` parses a generated answer."""
Group = Literal["seen", "unseen", "all"]
"""Tasks that the models were fine-tuned on (seen), the others (unseen), or both."""
FloorSide = Literal["at", "under"]
METRICS = ("acc", "weighted_f1", "macro_f1", "mcc")
RATES = ("missing", "ambiguous")
MAIN_METRIC = "weighted_f1"
"""The metric of the literature on these data sets: it determines rankings, best models and neighbours."""


@dataclass(frozen=True)
class Documents:
    """Gold label and answer of each document in one run of one task, in the order of the run.

    Attributes:
        hashes: lm-eval's `doc_hash`, with `#2`, `#3` … appended to repeated documents so that hashes are unique.
        gold: gold labels, shape (n,).
        answers: predicted labels, shape (n,); `label_parser.MISSING` or `AMBIGUOUS` if a reply names no single label.
        texts: document texts, only with `--with-documents`.
        replies: generated replies, only for `gen` and with `--with-documents`.
    """

    hashes: tuple[str, ...]
    gold: NDArray[np.int64]
    answers: NDArray[np.int64]
    texts: tuple[str, ...] | None = None
    replies: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Conditions:
    """The conditions that entries of one column share.

    Attributes:
        data: `real`, `sample`, or `unknown` if the task does not say.
        rows: hash of the document hashes; without samples, the content hash of the test split.
        version: task version.
        prompt: hash of every part of the task's configuration that shapes the prompt.
        shots: number of few-shot examples.
        chat: whether a chat template was applied.
        limit: `--limit` or the number of selected samples; None for all rows.
    """

    data: str
    rows: str
    version: str
    prompt: str
    shots: int
    chat: bool
    limit: str | None


@dataclass(frozen=True)
class Source:
    """The origin of an entry.

    Attributes:
        file: the result file, relative to the folder given.
        date: start of the run, in seconds since 1970.
        harness: version of lm-eval.
        engine: lm-eval's model class, for example `vllm`.
        settings: dtype, library versions, adapter, batch size and the like.
    """

    file: str
    date: float
    harness: str
    engine: str
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One model on one task under one protocol.

    Attributes:
        model: display name; derived from `config.model_args`, because lm-eval's `model_name` may be the base's.
        base: display name of the base model if `model` is an adapter.
        task: without `_gen`.
        protocol: `choice` or `gen`.
        seen: as the task says; None if it does not.
        labels: label set.
        n: number of documents.
        reported: lm-eval's own aggregates by metric, from 0 to 1 (MCC from -1).
        documents: None without samples.
        conditions: conditions of the run.
        source: origin.
        notes: remarks for the reader, one sentence each.
    """

    model: str
    base: str | None
    task: str
    protocol: Protocol
    seen: bool | None
    labels: tuple[str, ...]
    n: int
    reported: dict[str, float]
    documents: Documents | None
    conditions: Conditions
    source: Source
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """Comparable entries: one task, one protocol, equal conditions.

    Attributes:
        key: short and stable, for example `fin_fomc`, or `fin_fomc~2` for a second set of conditions.
        title: heading of the column.
        task: without `_gen`.
        protocol: `choice` or `gen`.
        seen: as the task says.
        conditions: shared by all entries.
        explanation: how the column differs from the task's other columns; empty if there are none.
        entries: one per model.
    """

    key: str
    title: str
    task: str
    protocol: Protocol
    seen: bool | None
    conditions: Conditions
    explanation: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Problem:
    """Something left out or inconsistent: the file and what is wrong with it. Errors are contradicting figures."""

    file: str
    message: str
    is_error: bool


@dataclass(frozen=True)
class LoadedRuns:
    """The result files, read and sorted into columns.

    Attributes:
        columns: seen tasks first, then unseen ones, then others; choice before gen.
        older: entries replaced by a newer run of the same model under the same conditions.
        problems: files and figures that could not be used.
    """

    columns: tuple[Column, ...]
    older: tuple[Entry, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; both ends are None without samples."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Cell:
    """The figures of an entry.

    Attributes:
        entry: the entry.
        figures: estimates by name in `METRICS` and, for `gen`, `RATES`.
        floors: scores of a constant answer, the most frequent label, by metric; empty without samples.
        floor_sides: by metric, `at` if the interval contains the floor, `under` if it lies below it; absent if above.
        many_missing: whether more than 5 % of the answers name no label.
        confusion: counts, shape (labels, labels + 1); the last column holds answers outside the label set. None
            without samples.
    """

    entry: Entry
    figures: dict[str, Estimate]
    floors: dict[str, float]
    floor_sides: dict[str, FloorSide]
    many_missing: bool
    confusion: NDArray[np.int64] | None


@dataclass(frozen=True)
class Mean:
    """A model's unweighted mean over the data sets of a group.

    Attributes:
        model: display name.
        protocol: `choice` or `gen`.
        group: group of tasks.
        figures: estimates by metric.
        columns: keys of the columns averaged.
        missing: tasks of the group without a result of this model; such a mean is shown apart and not ranked.
    """

    model: str
    protocol: Protocol
    group: Group
    figures: dict[str, Estimate]
    columns: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Rank:
    """A model's rank by its mean over a group, 1 the best, with the 95 % interval of its bootstrap ranks.

    Both ends are None without documents.
    """

    model: str
    protocol: Protocol
    group: Group
    metric: str
    rank: int
    low: int | None
    high: int | None


@dataclass(frozen=True)
class Contrast:
    """Two models compared on the documents of one column.

    Attributes:
        column: key of the column.
        first: a model.
        second: another model; differences are second minus first.
        differences: by metric, with paired 95 % intervals.
        only_first: documents that only the first answered correctly.
        only_second: documents that only the second answered correctly.
        p: p-value of the exact two-sided McNemar test of equal accuracy.
        p_holm: the same after Holm's correction over all `Board.tests`.
        detectable: smallest difference in accuracy found with 80 % power at the 5 % level, given the number of
            documents and the share of discordant ones; 1 for fewer than six documents.
        n: number of shared documents.
    """

    column: str
    first: str
    second: str
    differences: dict[str, Estimate]
    only_first: int
    only_second: int
    p: float
    p_holm: float
    detectable: float
    n: int


@dataclass(frozen=True)
class Forgetting:
    """A model's gain on seen tasks and change on unseen ones, relative to a baseline.

    Attributes:
        model: display name.
        baseline: the model before fine-tuning.
        reference: the multi-task fine-tune whose gain is the yardstick; None if not named.
        protocol: `choice` or `gen`.
        metric: weighted F1, or accuracy if a column has nothing else.
        unseen: change by column key, with paired intervals.
        worst: key of the unseen column with the largest loss.
        seen_gain: mean change over seen data sets.
        kept: share of the reference's seen gain retained, 1 for all of it; None without a reference, or if the
            reference's gain is not significantly positive.
        backward: backward transfer, the mean change over unseen data sets; negative means forgetting.
    """

    model: str
    baseline: str
    reference: str | None
    protocol: Protocol
    metric: str
    unseen: dict[str, Estimate]
    worst: str | None
    seen_gain: Estimate | None
    kept: Estimate | None
    backward: Estimate | None


@dataclass(frozen=True)
class PublishedResult:
    """A row of a paper: its figures by task and metric, from 0 to 1, and where they are printed. Never tested."""

    model: str
    setting: str
    figures: dict[str, dict[str, float]]
    place: str


@dataclass(frozen=True)
class Board:
    """Everything a board shows. All output files are rendered from this alone.

    Attributes:
        columns: as loaded.
        cells: by column key and model.
        means: by protocol and group.
        ranks: by protocol, group and metric.
        contrasts: of every two models of a column, or a selection in large columns (`statistics.model_comparisons`).
        forgetting: one per model and protocol, if a baseline was named.
        published: rows of papers.
        older: runs replaced by newer ones.
        problems: what was left out.
        made_with: versions, seed and number of bootstrap draws; no date, so that a rebuild gives the same bytes.
        tests: number of pairs in Holm's correction: every two models of every column, listed or not.
    """

    columns: tuple[Column, ...]
    cells: dict[tuple[str, str], Cell]
    means: tuple[Mean, ...]
    ranks: tuple[Rank, ...]
    contrasts: tuple[Contrast, ...]
    forgetting: tuple[Forgetting, ...]
    published: tuple[PublishedResult, ...]
    older: tuple[Entry, ...]
    problems: tuple[Problem, ...]
    made_with: dict[str, str]
    tests: int = 0
