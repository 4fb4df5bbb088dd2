"""Which column stands for a task where means are made, and which tasks belong to a mean at all."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

import yaml

from fin_plugins.board.model import Column, Problem, Protocol
from fin_plugins.common.locations import task_folder


def columns_of_means(columns: Sequence[Column], protocol: Protocol) -> tuple[tuple[Column, ...], list[Problem]]:
    """One column a task, for the tasks that say whether they are seen.

    A task with several sets of conditions is represented by the column with real rows and no limit that has the most
    entries, and if there is none such, by the one that has the most entries. Real, sample and unknown rows are never
    mixed: tasks whose rows are not of the kind that most have stay out.

    Returns:
        The columns in their order, and what stays out of the means.
    """
    by_task: dict[str, list[Column]] = {}
    for column in columns:
        if column.protocol == protocol and column.seen is not None and column.task not in _beside_groups():
            by_task.setdefault(column.task, []).append(column)
    chosen = [representative(of) for of in by_task.values()]
    kinds = Counter(column.conditions.data for column in chosen)
    kind = max(kinds, key=lambda one: (kinds[one], one == "real"), default="real")
    problems = [_left_out(column, kind) for column in chosen if column.conditions.data != kind]
    return tuple(column for column in chosen if column.conditions.data == kind), problems


def representative(columns: Iterable[Column]) -> Column:
    """The column that stands for a task: real and whole before others, then that with the most entries."""

    def worth(column: Column) -> tuple[bool, int]:
        return column.conditions.data == "real" and column.conditions.limit is None, len(column.entries)

    return max(columns, key=worth)


@lru_cache(maxsize=1)
def _beside_groups() -> frozenset[str]:
    """Tasks of this package that are in no group: variants of a task that is, which would count its data twice."""
    folder = task_folder() / "fin"
    grouped = yaml.safe_load((folder / "_group_fin.yaml").read_text(encoding="utf-8"))["task"]
    return frozenset(file.stem for file in folder.glob("fin_*.yaml")) - frozenset(grouped)


def _left_out(column: Column, kind: str) -> Problem:
    own = column.conditions.data
    said = f"{column.task} ({column.protocol}) has {own} rows, most tasks {kind} ones: left out of means and places"
    return Problem(column.entries[0].source.file, said, False)
