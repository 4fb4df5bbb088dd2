"""The board as tables: one block per protocol and kind of data, one table per metric, models down, tasks across.

Every output file shows these tables; none computes or drops a figure itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fin_plugins.board.board_data import (
    METRICS,
    Board,
    Cell,
    Column,
    Contrast,
    Estimate,
    FloorSide,
    Group,
    Mean,
    Protocol,
    PublishedResult,
    Rank,
)
from fin_plugins.board.rendering.display_text import DATA_NAMES, GROUP_NAMES, PROTOCOL_NAMES, data_sentence

MAX_CONTRASTS = 1000
MAX_READER_CONTRASTS = 100
"""Limits of the tables of contrasts. `board.json` and the page's view of two models have all."""
_GROUP_ORDER: tuple[Group, ...] = ("all", "seen", "unseen")


@dataclass(frozen=True)
class HeaderView:
    """The header of a table column: the mean over a group, or a column of the board.

    Attributes:
        title: heading.
        group: group of a mean; None for a column.
        column: column of the board; None for a mean.
        tasks: number of data sets in a mean.
        is_limited: whether a data set of a mean was run on a part of its rows.
    """

    title: str
    group: Group | None
    column: Column | None
    tasks: int = 1
    is_limited: bool = False


@dataclass(frozen=True)
class CellView:
    """A figure in a table.

    Attributes:
        estimate: the figure.
        floor: score of always giving the most frequent label; None if unknown.
        floor_side: position of the interval relative to the floor, unless above.
        missing: rate of answers without a label, if over 5 %.
        notes: the entry's remarks that not all entries of the column share.
        rank: rank by this mean.
        coverage: for a mean over a part of its group, the numbers of its data sets and of the group's.
    """

    estimate: Estimate
    floor: float | None = None
    floor_side: FloorSide | None = None
    missing: float | None = None
    notes: tuple[str, ...] = ()
    rank: Rank | None = None
    coverage: tuple[int, int] | None = None


@dataclass(frozen=True)
class ModelRow:
    """A model's figures, parallel to the table's headers; None where it has none."""

    model: str
    cells: tuple[CellView | None, ...]


@dataclass(frozen=True)
class PublishedRow:
    """A paper's figures, parallel to the table's headers."""

    published: PublishedResult
    figures: tuple[float | None, ...]


@dataclass(frozen=True)
class Table:
    """One metric of a block. Rows are sorted by the first header, highest first; papers' rows stand apart."""

    metric: str
    headers: tuple[HeaderView, ...]
    rows: tuple[ModelRow, ...]
    published: tuple[PublishedRow, ...]


@dataclass(frozen=True)
class Block:
    """What can be shown side by side: one protocol on one kind of data.

    Attributes:
        protocol: `choice` or `gen`.
        data: as in `Conditions`.
        columns: columns of the board.
        tables: one per metric, all with the same headers.
        partial: means over a part of their group, which are not ranked.
        remarks: what distinguishes a column, or applies to all its entries.
    """

    protocol: Protocol
    data: str
    columns: tuple[Column, ...]
    tables: tuple[Table, ...]
    partial: tuple[Mean, ...]
    remarks: tuple[tuple[Column, str], ...]

    @property
    def title(self) -> str:
        """For people, for example `Real data, by written answer`."""
        return f"{DATA_NAMES.get(self.data, self.data)}, {PROTOCOL_NAMES[self.protocol]}"

    @property
    def rows(self) -> str:
        """A sentence on the rows that were scored."""
        return data_sentence(self.data, [column.task for column in self.columns])


def model_order(board: Board) -> tuple[str, ...]:
    """Every model, in order of first appearance on the board."""
    return tuple(dict.fromkeys(entry.model for column in board.columns for entry in column.entries))


def build_blocks(board: Board) -> tuple[Block, ...]:
    """All tables: real data first, sample data last; within each, likelihood before generation."""
    kinds = list(dict.fromkeys(column.conditions.data for column in board.columns))
    known = [kind for kind in DATA_NAMES if kind in kinds and kind != "sample"]
    others = [kind for kind in kinds if kind not in DATA_NAMES]
    blocks = []
    for data in (*known, *others, "sample"):
        for protocol in PROTOCOL_NAMES:
            columns = [column for column in board.columns if _block_key(column) == (protocol, data)]
            if columns:
                blocks.append(_build_block(board, columns))
    return tuple(blocks)


def listed_contrasts(board: Board) -> list[Contrast]:
    """All contrasts in the board's order; if there are very many, those with the smallest p."""
    if len(board.contrasts) <= MAX_CONTRASTS:
        return list(board.contrasts)
    by_p = sorted(range(len(board.contrasts)), key=lambda index: board.contrasts[index].p)
    return [board.contrasts[index] for index in sorted(by_p[:MAX_CONTRASTS])]


def reader_contrasts(board: Board) -> list[Contrast]:
    """The contrasts for a document: if there are many and a baseline, those with baseline or reference."""
    named = {name for change in board.forgetting for name in (change.baseline, change.reference)}
    if len(board.contrasts) <= MAX_READER_CONTRASTS or not named:
        return listed_contrasts(board)
    return [contrast for contrast in listed_contrasts(board) if {contrast.first, contrast.second} & named]


def column_floors(board: Board, column: Column) -> dict[str, float]:
    """A column's floors by metric; empty if no entry has samples."""
    cells = (board.cells.get((column.key, entry.model)) for entry in column.entries)
    return next((cell.floors for cell in cells if cell is not None and cell.floors), {})


def shared_notes(column: Column) -> tuple[str, ...]:
    """Remarks that all entries of a column share, which are shown once."""
    first, *others = [entry.notes for entry in column.entries] or [()]
    return tuple(note for note in first if all(note in notes for notes in others))


def sort_value(cell: CellView | None) -> float:
    """Sort key of a table row; minus infinity without a figure, and for a mean over a part of its group."""
    if cell is None or cell.coverage or cell.estimate.value != cell.estimate.value:
        return float("-inf")
    return cell.estimate.value


def unmatched_published(board: Board) -> tuple[Table, ...]:
    """Papers' rows that are in no block, because no column has all rows of their data sets; one table per metric."""
    tables = [table for block in build_blocks(board) for table in block.tables]
    matched = {(table.metric, id(row.published)) for table in tables for row in table.published}
    unmatched = []
    for metric in METRICS:
        rows = [row for row in board.published if (metric, id(row)) not in matched and _tasks_with(row, metric)]
        tasks = list(dict.fromkeys(task for row in rows for task in _tasks_with(row, metric)))
        published = [PublishedRow(row, tuple(row.figures.get(task, {}).get(metric) for task in tasks)) for row in rows]
        if published:
            headers = tuple(HeaderView(task, None, None) for task in tasks)
            unmatched.append(Table(metric, headers, (), tuple(published)))
    return tuple(unmatched)


def _tasks_with(published: PublishedResult, metric: str) -> list[str]:
    return [task for task, figures in published.figures.items() if metric in figures]


def _block_key(column: Column) -> tuple[Protocol, str]:
    return column.protocol, column.conditions.data


def _build_block(board: Board, columns: Sequence[Column]) -> Block:
    protocol, data = _block_key(columns[0])
    keys = {column.key for column in columns}
    means = [mean for mean in board.means if mean.columns and keys.issuperset(mean.columns)]
    mean_by_model: dict[tuple[str, str], Mean] = {(mean.group, mean.model): mean for mean in means}
    ranks: dict[tuple[str, str, str], Rank] = {
        (rank.group, rank.model, rank.metric): rank for rank in board.ranks if rank.protocol == protocol
    }
    headers = (*_mean_headers(means, columns), *(HeaderView(column.title, None, column) for column in columns))
    remarks = ((column, " ".join(filter(None, (column.explanation, *shared_notes(column))))) for column in columns)
    return Block(
        protocol=protocol,
        data=data,
        columns=tuple(columns),
        tables=tuple(_build_table(board, headers, mean_by_model, ranks, metric) for metric in METRICS),
        partial=tuple(mean for mean in means if mean.missing),
        remarks=tuple((column, remark) for column, remark in remarks if remark),
    )


def _mean_headers(means: Sequence[Mean], columns: Sequence[Column]) -> list[HeaderView]:
    limited = {column.key for column in columns if column.conditions.limit is not None}
    headers = []
    for group in _GROUP_ORDER:
        group_means = [mean for mean in means if mean.group == group]
        if group_means:
            is_limited = any(limited.intersection(mean.columns) for mean in group_means)
            tasks = len(group_means[0].columns) + len(group_means[0].missing)
            headers.append(HeaderView(f"Mean, {GROUP_NAMES[group]}", group, None, tasks, is_limited))
    return headers


def _build_table(
    board: Board,
    headers: tuple[HeaderView, ...],
    means: Mapping[tuple[str, str], Mean],
    ranks: Mapping[tuple[str, str, str], Rank],
    metric: str,
) -> Table:
    rows = []
    for model in model_order(board):
        cells = []
        for header in headers:
            if header.column is not None:
                cell = board.cells.get((header.column.key, model))
                cells.append(_entry_cell(header.column, cell, metric))
            else:
                group = header.group or ""
                cells.append(_mean_cell(means.get((group, model)), ranks.get((group, model, metric)), metric))
        if any(cells):
            rows.append(ModelRow(model, tuple(cells)))
    rows.sort(key=lambda row: sort_value(row.cells[0]), reverse=True)
    published = [
        PublishedRow(row, tuple(_published_figure(row, header.column, metric) for header in headers))
        for row in board.published
    ]
    has_figures = [row for row in published if any(figure is not None for figure in row.figures)]
    return Table(metric, headers, tuple(rows), tuple(has_figures))


def _mean_cell(mean: Mean | None, rank: Rank | None, metric: str) -> CellView | None:
    if mean is None or metric not in mean.figures:
        return None
    coverage = (len(mean.columns), len(mean.columns) + len(mean.missing)) if mean.missing else None
    return CellView(mean.figures[metric], rank=rank, coverage=coverage)


def _entry_cell(column: Column, cell: Cell | None, metric: str) -> CellView | None:
    if cell is None or metric not in cell.figures:
        return None
    missing = cell.figures["missing"].value if cell.many_missing and "missing" in cell.figures else None
    notes = tuple(note for note in cell.entry.notes if note not in shared_notes(column))
    return CellView(cell.figures[metric], cell.floors.get(metric), cell.floor_sides.get(metric), missing, notes)


def _published_figure(published: PublishedResult, column: Column | None, metric: str) -> float | None:
    """A paper's figure covers the complete data set, so it matches no sample column and no limited one."""
    if column is None or column.conditions.limit is not None or column.conditions.data == "sample":
        return None
    return published.figures.get(column.task, {}).get(metric)
