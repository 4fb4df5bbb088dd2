"""Papers' rows that have no place beside the board's own: cut columns are not what a paper scored."""

from fin_plugins.board.model import METRICS, Board, Published
from fin_plugins.board.rendering.arrange import Head, PublishedRow, Table, blocks


def published_apart(board: Board) -> tuple[Table, ...]:
    """Papers' rows that stand in no block because it has no uncut column of their data sets: a table a metric."""
    tables = [table for block in blocks(board) for table in block.tables]
    beside = {(table.metric, id(row.published)) for table in tables for row in table.published}
    apart = []
    for metric in METRICS:
        rows = [one for one in board.published if (metric, id(one)) not in beside and _tasks(one, metric)]
        tasks = list(dict.fromkeys(task for one in rows for task in _tasks(one, metric)))
        listed = tuple(
            PublishedRow(one, tuple(one.figures.get(task, {}).get(metric) for task in tasks)) for one in rows
        )
        if listed:
            heads = tuple(Head(task, None, None) for task in tasks)
            apart.append(Table(metric, heads, (), listed))
    return tuple(apart)


def _tasks(published: Published, metric: str) -> list[str]:
    return [task for task, figures in published.figures.items() if metric in figures]
