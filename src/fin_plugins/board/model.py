"""What a board is made of. Reading fills these in, statistics add figures, rendering only formats them."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Protocol = Literal["choice", "gen"]
METRICS = ("acc", "weighted_f1", "macro_f1", "mcc")
RATES = ("missing", "ambiguous")


@dataclass(frozen=True)
class Documents:
    """Every document's outcome in one run of one task; parallel, in the order of the run.

    Attributes:
        hashes: lm-eval's `doc_hash`; where a text occurs twice in a task, with its number of occurrence behind it
            (`hash`, `hash#2`), so that they are unique and pair the same way in every run.
        gold: gold label, shape (n,).
        answers: answered label; `tasks.parser.MISSING` or `AMBIGUOUS` where there is none.
        texts: the documents' texts, only where they were asked for (`--with-documents`).
        replies: what the model said, of a generation task, likewise.
    """

    hashes: tuple[str, ...]
    gold: NDArray[np.int64]
    answers: NDArray[np.int64]
    texts: tuple[str, ...] | None = None
    replies: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Conditions:
    """What must be equal for two figures to stand in one column.

    Attributes:
        data: `real`, `sample`, or `unknown` for a task that does not say.
        rows: hash over the documents' hashes (or, without samples, the content hash of the test split).
        version: task version.
        prompt: hash over everything of the task's configuration that the prompt is made of.
        shots: few-shot examples.
        chat: whether a chat template was applied.
        limit: `--limit` or the number of chosen samples; None for all rows.
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
    """Where an entry comes from.

    Attributes:
        file: the result file, relative to the folder that was given.
        date: seconds since 1970.
        harness: version of lm-eval.
        engine: lm-eval's model class, as in `vllm`.
        settings: what else a reader may want: dtype, engine version, adapter, batch size.
    """

    file: str
    date: float
    harness: str
    engine: str
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One model on one task by one protocol.

    Attributes:
        model: name to show. Models are told apart by `config.model_args`, not by `model_name`: an adapter is filed
            under its base's name.
        base: name of the base model where `model` is an adapter on it.
        task: without `_gen`.
        protocol: `choice` or `gen`.
        seen: as the task says; None where it does not.
        labels: label set.
        n: documents.
        reported: the harness's own aggregates, by metric, 0 to 1 (MCC -1 to 1).
        documents: None without samples.
        conditions: what it may be compared with.
        source: where it comes from.
        notes: remarks for the reader, one sentence each (a limit, an older run that was left out, …).
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
    """Entries that may stand under each other: one task, one protocol, equal conditions.

    Attributes:
        key: short and stable, as in `fin_fomc`, or `fin_fomc~2` where there are several sets of conditions.
        title: for the table's head.
        explanation: how it differs from the task's other columns, in one sentence; empty where it is the only one.
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
    """Something that was left out, or does not agree: file, what is wrong, what was done about it."""

    file: str
    message: str
    is_error: bool


@dataclass(frozen=True)
class Reading:
    """All that was read.

    Attributes:
        columns: in the order of the tasks: seen first, then unseen, then others; choice before gen.
        older: entries that a newer run of the same model under the same conditions replaces.
        problems: files and figures that could not be used.
    """

    columns: tuple[Column, ...]
    older: tuple[Entry, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; without samples both ends are None."""

    value: float
    low: float | None
    high: float | None


Side = Literal["at", "under"]


@dataclass(frozen=True)
class Cell:
    """An entry's figures: estimates by metric and rate, the floor by metric, marks to show beside them.

    Attributes:
        entry: whose.
        figures: by name in `METRICS` and `RATES` (rates of `gen` only).
        floors: what always answering the most frequent label scores, by metric; empty without samples.
        not_above: by metric, `at` where the interval holds the floor, `under` where all of it lies below; no entry
            where all of it lies above.
        many_missing: more than 5 % of the answers name no label.
        confusion: shape (labels, labels + 1), last column answers outside the label set; None without samples.
    """

    entry: Entry
    figures: dict[str, Estimate]
    floors: dict[str, float]
    not_above: dict[str, Side]
    many_missing: bool
    confusion: NDArray[np.int64] | None


@dataclass(frozen=True)
class Mean:
    """A model's unweighted mean over the data sets of a group.

    Attributes:
        model: whose.
        protocol: `choice` or `gen`.
        group: `seen`, `unseen` or `all`.
        figures: by metric.
        columns: keys of the columns it is over.
        missing: tasks of the group that the model was not run on; a mean with such is shown apart and not ranked.
    """

    model: str
    protocol: Protocol
    group: Literal["seen", "unseen", "all"]
    figures: dict[str, Estimate]
    columns: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Rank:
    """A model's place by a group's mean, 1 the best, with the interval of places over bootstrap replicates.

    Both ends are None where the model lacks documents.
    """

    model: str
    protocol: Protocol
    group: str
    metric: str
    rank: int
    low: int | None
    high: int | None


@dataclass(frozen=True)
class Contrast:
    """Two models on the documents of one column.

    Attributes:
        column: its key.
        first: a model.
        second: another; differences are second less first.
        differences: by metric, with paired 95 % intervals.
        only_first: documents that only the first got right.
        only_second: documents that only the second got right.
        p: exact McNemar test of equal accuracy, two-sided.
        p_holm: after Holm's correction over all `Board.tests`.
        detectable: the smallest difference in accuracy that 80 % of such comparisons would find (at 5 %, with this many
            documents and this share of documents that one of the two alone got right); 1 for fewer than six documents.
        n: documents in common.
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
    """What a model gained on seen tasks and lost on unseen ones, against its baseline.

    Attributes:
        model: whose.
        baseline: the model before.
        reference: the multi-task fine-tune that gains are compared with; None where none was named.
        protocol: `choice` or `gen`.
        metric: of all figures here: weighted F1, or accuracy where a column knows nothing else.
        unseen: change by column key, with paired intervals.
        worst: key of the unseen column with the largest loss.
        seen_gain: mean change over seen data sets.
        kept: share of the reference's seen gain that the model has (1 is all of it); None without a reference, or where
            the reference's own gain is not above 0 for sure.
        backward: backward transfer: mean change over unseen data sets (negative is forgetting).
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
class Published:
    """A row of a paper: its figures by task and metric, 0 to 1, with the place they stand at. Never tested."""

    model: str
    setting: str
    figures: dict[str, dict[str, float]]
    place: str


@dataclass(frozen=True)
class Board:
    """Everything that a board shows; all outputs are rendered from this and nothing else.

    Attributes:
        columns: as read.
        cells: by column key and model.
        means: by protocol and group.
        ranks: likewise.
        contrasts: of every two models of a column; where it has more than 20, of those that readers look at first (see
            `statistics.contrasts`).
        forgetting: one a model and protocol, where a baseline was named.
        published: rows of papers.
        older: runs that newer ones replace.
        problems: what was left out.
        made_with: versions, seed, draws; no date, so that a rebuild is byte-identical.
        tests: number of pairs that Holm's correction is over: every two models of every column, in `contrasts` or not.
    """

    columns: tuple[Column, ...]
    cells: dict[tuple[str, str], Cell]
    means: tuple[Mean, ...]
    ranks: tuple[Rank, ...]
    contrasts: tuple[Contrast, ...]
    forgetting: tuple[Forgetting, ...]
    published: tuple[Published, ...]
    older: tuple[Entry, ...]
    problems: tuple[Problem, ...]
    made_with: dict[str, str]
    tests: int = 0
