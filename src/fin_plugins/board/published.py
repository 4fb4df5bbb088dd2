"""Rows of papers, kept as data: shown beside our own, marked as published, and never part of a test.

A file names the paper, says which of our tasks each of its data sets comes nearest to, and holds its tables as printed,
in percent. `leaderboard/paper_2411.02476.yaml` is one; any YAML file beside it is shown as well.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from fin_plugins.board.model import METRICS, Published
from fin_plugins.common.locations import leaderboard_folder
from fin_plugins.common.validation import Finding, did_you_mean, validate
from fin_plugins.common.yaml_file import Problems, dotted, read_yaml


def _number(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise ValueError("should be a number in percent, or ~ where there is none")
    return value


Text = Annotated[str, Field(min_length=1)]
Percent = Annotated[float, BeforeValidator(_number), Field(ge=-100, le=100)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Dataset(_Strict):
    """A data set of the paper."""

    task: Text
    """our task whose rows come nearest to it"""
    note: Text | None = None
    """how its rows differ from ours"""


class Row(_Strict):
    """A row of a table."""

    setting: Text
    """how the model was made, as the paper calls it"""
    model: Text
    """the model, as the paper calls it"""
    figures: list[Percent | None]
    """a figure a column, in percent as printed; ~ where there is none"""
    note: Text | None = None
    """what is wrong with the row, or what another place of the paper says"""


class Table(_Strict):
    """A table of the paper, or several with the same rows."""

    place: Text
    """where it stands, as in `Table 3`"""
    columns: Annotated[list[Text], Field(min_length=1)]
    """`DATASET METRIC`, as in `FPB acc`"""
    rows: Annotated[list[Row], Field(min_length=1)]
    """as printed"""
    note: Text | None = None
    """what holds for all rows"""


class Paper(_Strict):
    """A whole file."""

    paper: Text
    """what to cite, as in `arXiv 2411.02476 v1`"""
    datasets: Annotated[dict[Text, Dataset], Field(min_length=1)]
    """the paper's data sets by the name that columns use"""
    tables: Annotated[list[Table], Field(min_length=1)]
    """its tables"""


_PLACEHOLDERS = {
    "paper": "a paper",
    "datasets": {"D": {"task": "fin_fomc"}},
    "tables": [{"place": "Table 1", "columns": ["D acc"], "rows": [{"setting": "s", "model": "m", "figures": [1]}]}],
}


def shipped_published() -> tuple[Published, ...]:
    """The rows of all files that come with the package.

    Raises:
        Problems: all that is wrong with one of them.
    """
    return tuple(row for file in sorted(leaderboard_folder().glob("*.yaml")) for row in read_published(file))


def of_tasks(rows: Iterable[Published], tasks: Iterable[str]) -> tuple[Published, ...]:
    """The rows with their figures on these tasks, and on the variants of them that are cut as the paper cut its data.

    A row without such a figure is left out.
    """
    known = {name for task in tasks for name in (task, f"{task}_paper")}
    kept = ((row, {task: figures for task, figures in row.figures.items() if task in known}) for row in rows)
    return tuple(replace(row, figures=figures) for row, figures in kept if figures)


def read_published(path: Path) -> tuple[Published, ...]:
    """The rows of a file, in its order; figures from 0 to 1 (MCC from -1).

    Raises:
        FinError: there is no such file, or it cannot be read.
        Problems: all that is wrong with it, each with its line.
    """
    file = read_yaml(path)
    paper, findings = validate(Paper, file.data, _PLACEHOLDERS)
    findings += list(_broken_rules(paper)) if paper else []
    # A value that could not be read is None in the data: that much has been said.
    said = tuple(f"{problem.key}." for problem in file.problems if problem.key)
    new = [file.problem(key, message) for key, message in findings if not f"{dotted(key)}.".startswith(said)]
    if new or file.problems or paper is None:
        raise Problems([*file.problems, *new])
    return tuple(_published(paper, table, row) for table in paper.tables for row in table.rows)


def _published(paper: Paper, table: Table, row: Row) -> Published:
    figures: dict[str, dict[str, float]] = {}
    for column, figure in zip(table.columns, row.figures, strict=True):
        if figure is not None:
            name, metric = _split(column)
            # From 86.2 to 0.862, not to 0.8620000000000001.
            figures.setdefault(paper.datasets[name].task, {})[metric] = round(figure / 100, 10)
    place = f"{paper.paper}, {table.place}" + (f" ({row.note})" if row.note else "")
    return Published(row.model, row.setting, figures, place)


def _split(column: str) -> tuple[str, str]:
    name, _, metric = column.rpartition(" ")
    return name, metric


def _broken_rules(paper: Paper) -> Iterator[Finding]:
    """What no key alone can be wrong about."""
    tasks = [dataset.task for dataset in paper.datasets.values()]
    for name, dataset in paper.datasets.items():
        if tasks.count(dataset.task) > 1:
            yield ("datasets", name, "task"), f"{dataset.task} stands for two data sets"
    seen = set[tuple[str, str]]()
    for number, table in enumerate(paper.tables):
        for column, message in _wrong_columns(paper, table):
            yield ("tables", number, "columns", column), message
        for place, row in enumerate(table.rows):
            key = ("tables", number, "rows", place)
            if (row.setting, row.model) in seen:
                yield key, f"{row.setting} {row.model} is given twice"
            seen.add((row.setting, row.model))
            yield from (((*key, "figures"), message) for message in _wrong_figures(table, row))


def _wrong_columns(paper: Paper, table: Table) -> Iterator[tuple[int, str]]:
    for number, column in enumerate(table.columns):
        name, metric = _split(column)
        if name not in paper.datasets:
            yield number, f"no data set {name or column} above{did_you_mean(name or column, paper.datasets)}"
        elif metric not in METRICS:
            yield number, f"no such metric {metric}{did_you_mean(metric, METRICS)}; known are {', '.join(METRICS)}"
        elif column in table.columns[:number]:
            yield number, f"{column} is given twice"


def _wrong_figures(table: Table, row: Row) -> Iterator[str]:
    if len(row.figures) != len(table.columns):
        yield f"{len(row.figures)} figures for {len(table.columns)} columns; write ~ where there is none"
        return
    for column, figure in zip(table.columns, row.figures, strict=True):
        if figure is not None and figure < 0 and _split(column)[1] != "mcc":
            yield f"{column} is {figure}: only mcc can be below 0"
