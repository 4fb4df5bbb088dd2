"""The board as tables: a block for each protocol and kind of data, in it a table a metric, models down, tasks across.

Every output shows these tables; none of them computes or drops a figure by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fin_plugins.board.model import (
    METRICS,
    Board,
    Cell,
    Column,
    Contrast,
    Estimate,
    Mean,
    Protocol,
    Published,
    Rank,
    Side,
)
from fin_plugins.board.rendering.wording import DATA_NAMES, GROUP_NAMES, PROTOCOL_NAMES, data_sentence

MOST_LISTED = 1000
MOST_READ = 100
"""Contrasts that outputs for reading list; `board.json` and the page's view of two models have all."""
_GROUPS: tuple[Literal["all", "seen", "unseen"], ...] = ("all", "seen", "unseen")


@dataclass(frozen=True)
class Head:
    """A column of a table: the mean over a group, or one of the board's columns.

    Attributes:
        title: for the table's head.
        group: of a mean; None for a column.
        column: of a column; None for a mean.
        tasks: number of data sets that a mean is over.
        is_limited: only a part of the rows was run, in one of the data sets at least.
    """

    title: str
    group: str | None
    column: Column | None
    tasks: int = 1
    is_limited: bool = False


@dataclass(frozen=True)
class Shown:
    """A figure in its place.

    Attributes:
        estimate: the figure.
        floor: what always answering the most frequent label scores; None where that is not known.
        side: where the interval lies if not above the floor.
        missing: rate of answers without a label, where it is over 5 %.
        notes: remarks of the entry that not all of its column share.
        rank: place by this mean.
        lost: of a mean over a part of its group, how many data sets it is over and how many there are.
    """

    estimate: Estimate
    floor: float | None = None
    side: Side | None = None
    missing: float | None = None
    notes: tuple[str, ...] = ()
    rank: Rank | None = None
    lost: tuple[int, int] | None = None


@dataclass(frozen=True)
class Row:
    """A model's figures, parallel to the table's heads; None where it has none."""

    model: str
    cells: tuple[Shown | None, ...]


@dataclass(frozen=True)
class PublishedRow:
    """A paper's figures, parallel to the table's heads."""

    published: Published
    figures: tuple[float | None, ...]


@dataclass(frozen=True)
class Table:
    """One metric of a block. Rows stand in the order of the first head, highest first; papers' rows apart."""

    metric: str
    heads: tuple[Head, ...]
    rows: tuple[Row, ...]
    published: tuple[PublishedRow, ...]


@dataclass(frozen=True)
class Block:
    """What may stand side by side: one protocol on one kind of data.

    Attributes:
        protocol: `choice` or `gen`.
        data: as in `Conditions`.
        columns: of the board.
        tables: one a metric, all with the same heads.
        partial: means over a part of their group, which are not ranked.
        remarks: what sets a column apart, and what is to be said of all its entries, by column.
    """

    protocol: Protocol
    data: str
    columns: tuple[Column, ...]
    tables: tuple[Table, ...]
    partial: tuple[Mean, ...]
    remarks: tuple[tuple[Column, str], ...]

    @property
    def title(self) -> str:
        """For people, as in `Real data, by written answer`."""
        return f"{DATA_NAMES.get(self.data, self.data)}, {PROTOCOL_NAMES[self.protocol]}"

    @property
    def rows(self) -> str:
        """Which rows these are, in one sentence."""
        return data_sentence(self.data, [column.task for column in self.columns])


def models_of(board: Board) -> tuple[str, ...]:
    """Every model, in the order in which the board first names it."""
    return tuple(dict.fromkeys(entry.model for column in board.columns for entry in column.entries))


def blocks(board: Board) -> tuple[Block, ...]:
    """All tables: real data first, sample data last; each first by likelihood, then by written answers."""
    kinds = {column.conditions.data: None for column in board.columns}
    order = [*(kind for kind in DATA_NAMES if kind in kinds), *(kind for kind in kinds if kind not in DATA_NAMES)]
    found = []
    for data in sorted(order, key=lambda kind: kind == "sample"):
        for protocol in PROTOCOL_NAMES:
            columns = [one for one in board.columns if (one.protocol, one.conditions.data) == (protocol, data)]
            if columns:
                found.append(_block(board, columns))
    return tuple(found)


def contrasts_listed(board: Board) -> list[Contrast]:
    """All contrasts; where they are very many, those with the smallest p, in the board's order."""
    if len(board.contrasts) <= MOST_LISTED:
        return list(board.contrasts)
    by_p = sorted(range(len(board.contrasts)), key=lambda number: board.contrasts[number].p)
    return [board.contrasts[number] for number in sorted(by_p[:MOST_LISTED])]


def contrasts_read(board: Board) -> list[Contrast]:
    """The contrasts for readers: where they are many and there is a baseline, those with it or with the reference."""
    ends = {name for one in board.forgetting for name in (one.baseline, one.reference)}
    if len(board.contrasts) <= MOST_READ or not ends:
        return contrasts_listed(board)
    return [one for one in contrasts_listed(board) if {one.first, one.second} & ends]


def floors_of(board: Board, column: Column) -> dict[str, float]:
    """A column's floors by metric; empty where no entry has samples."""
    cells = (board.cells.get((column.key, entry.model)) for entry in column.entries)
    return next((cell.floors for cell in cells if cell is not None and cell.floors), {})


def _block(board: Board, columns: Sequence[Column]) -> Block:
    keys = {column.key for column in columns}
    means = [mean for mean in board.means if mean.columns and keys.issuperset(mean.columns)]
    whole: dict[tuple[str, str], Mean] = {(mean.group, mean.model): mean for mean in means}
    ranks = {
        (rank.group, rank.model, rank.metric): rank for rank in board.ranks if rank.protocol == columns[0].protocol
    }
    heads = (*_mean_heads(means, columns), *(Head(column.title, None, column) for column in columns))
    tables = tuple(_table(board, heads, whole, ranks, metric) for metric in METRICS)
    partial = tuple(mean for mean in means if mean.missing)
    remarks = tuple((column, said) for column in columns if (said := _remark(column)))
    return Block(columns[0].protocol, columns[0].conditions.data, tuple(columns), tables, partial, remarks)


def _remark(column: Column) -> str:
    return " ".join(filter(None, (column.explanation, *shared_notes(column))))


def shared_notes(column: Column) -> tuple[str, ...]:
    """What is remarked on every entry of a column, so that it need not be said of each."""
    first, *others = [entry.notes for entry in column.entries] or [()]
    return tuple(note for note in first if all(note in notes for notes in others))


def _mean_heads(means: Sequence[Mean], columns: Sequence[Column]) -> list[Head]:
    limited = {column.key for column in columns if column.conditions.limit is not None}
    heads = []
    for group in _GROUPS:
        of_group = [mean for mean in means if mean.group == group]
        if of_group:
            is_limited = any(limited.intersection(mean.columns) for mean in of_group)
            size = len(of_group[0].columns) + len(of_group[0].missing)
            heads.append(Head(f"Mean, {GROUP_NAMES[group]}", group, None, size, is_limited))
    return heads


def _table(
    board: Board,
    heads: tuple[Head, ...],
    means: Mapping[tuple[str, str], Mean],
    ranks: Mapping[tuple[str, str, str], Rank],
    metric: str,
) -> Table:
    rows = []
    for model in models_of(board):
        cells = tuple(
            _of_mean(means.get((head.group, model)), ranks.get((head.group, model, metric)), metric)
            if head.group
            else _of_cell(head.column, board.cells.get((head.column.key, model)) if head.column else None, metric)
            for head in heads
        )
        if any(cells):
            rows.append(Row(model, cells))
    rows.sort(key=lambda row: sort_value(row.cells[0]), reverse=True)
    published = (PublishedRow(one, tuple(_published(one, head, metric) for head in heads)) for one in board.published)
    return Table(
        metric, heads, tuple(rows), tuple(row for row in published if any(one is not None for one in row.figures))
    )


def sort_value(shown: Shown | None) -> float:
    """What a table is sorted by; what has no figure, or a mean over a part of its group, comes last."""
    if shown is None or shown.lost or shown.estimate.value != shown.estimate.value:
        return float("-inf")
    return shown.estimate.value


def _of_mean(mean: Mean | None, rank: Rank | None, metric: str) -> Shown | None:
    if mean is None or metric not in mean.figures:
        return None
    lost = (len(mean.columns), len(mean.columns) + len(mean.missing)) if mean.missing else None
    return Shown(mean.figures[metric], rank=rank, lost=lost)


def _of_cell(column: Column | None, cell: Cell | None, metric: str) -> Shown | None:
    if column is None or cell is None or metric not in cell.figures:
        return None
    missing = cell.figures["missing"].value if cell.many_missing and "missing" in cell.figures else None
    notes = tuple(note for note in cell.entry.notes if note not in shared_notes(column))
    return Shown(cell.figures[metric], cell.floors.get(metric), cell.not_above.get(metric), missing, notes)


def _published(published: Published, head: Head, metric: str) -> float | None:
    """A paper's figure is of the whole data set, so it stands under no sample and no cut column."""
    column = head.column
    if column is None or column.conditions.limit is not None or column.conditions.data == "sample":
        return None
    return published.figures.get(column.task, {}).get(metric)
