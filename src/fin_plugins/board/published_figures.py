"""Figures of papers, kept as data: shown beside ours, marked as published, and never part of a test.

A file names the paper, maps each of its data sets to the nearest of our tasks, and holds its tables as printed, in
percent, for example `leaderboard/paper_2411.02476.yaml`. Every YAML file in that folder is shown.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from fin_plugins.board.board_data import METRICS, PublishedResult
from fin_plugins.common.locations import leaderboard_folder
from fin_plugins.common.validation import Finding, did_you_mean, validate
from fin_plugins.common.yaml_file import Problems, dotted, read_yaml


def _require_number(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise ValueError("should be a number in percent, or ~ if there is none")
    return value


Text = Annotated[str, Field(min_length=1)]
Percent = Annotated[float, BeforeValidator(_require_number), Field(ge=-100, le=100)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class PaperDataset(_Strict):
    """A data set of the paper."""

    task: Text
    """our task with the most similar rows"""
    note: Text | None = None
    """how its rows differ from ours"""


class PaperRow(_Strict):
    """A row of a table."""

    setting: Text
    """how the model was trained, in the paper's words"""
    model: Text
    """the model, in the paper's words"""
    figures: list[Percent | None]
    """one figure per column, in percent as printed; ~ if there is none"""
    note: Text | None = None
    """what is wrong with the row, or where the paper contradicts it"""


class PaperTable(_Strict):
    """A table of the paper, or several with the same rows."""

    place: Text
    """where it is printed, for example `Table 3`"""
    columns: Annotated[list[Text], Field(min_length=1)]
    """`DATASET METRIC`, for example `FPB acc`"""
    rows: Annotated[list[PaperRow], Field(min_length=1)]
    """the rows, as printed"""
    note: Text | None = None
    """remark on all rows"""


class Paper(_Strict):
    """The content of a file."""

    paper: Text
    """citation, for example `arXiv 2411.02476 v1`"""
    datasets: Annotated[dict[Text, PaperDataset], Field(min_length=1)]
    """the paper's data sets, by their name in `columns`"""
    tables: Annotated[list[PaperTable], Field(min_length=1)]
    """the paper's tables"""


_PLACEHOLDERS = {
    "paper": "a paper",
    "datasets": {"D": {"task": "fin_fomc"}},
    "tables": [{"place": "Table 1", "columns": ["D acc"], "rows": [{"setting": "s", "model": "m", "figures": [1]}]}],
}


def bundled_published() -> tuple[PublishedResult, ...]:
    """The rows of all files that come with the package.

    Raises:
        Problems: everything that is wrong with one of them.
    """
    return tuple(row for file in sorted(leaderboard_folder().glob("*.yaml")) for row in read_published(file))


def select_tasks(rows: Iterable[PublishedResult], tasks: Iterable[str]) -> tuple[PublishedResult, ...]:
    """The rows reduced to figures on these tasks and on their `_paper` variants, which are cut as in the paper.

    Rows without such a figure are dropped.
    """
    selected = {name for task in tasks for name in (task, f"{task}_paper")}
    reduced = (
        replace(row, figures={task: figures for task, figures in row.figures.items() if task in selected})
        for row in rows
    )
    return tuple(row for row in reduced if row.figures)


def read_published(path: Path) -> tuple[PublishedResult, ...]:
    """The rows of a file, in its order, with figures from 0 to 1 (MCC from -1).

    Raises:
        FinError: the file does not exist or cannot be read.
        Problems: everything that is wrong with it, each with its line.
    """
    file = read_yaml(path)
    paper, findings = validate(Paper, file.data, _PLACEHOLDERS)
    findings += list(_broken_rules(paper)) if paper else []
    # A value that could not be parsed is None in the data, and already reported.
    reported = tuple(f"{problem.key}." for problem in file.problems if problem.key)
    new = [file.problem(key, message) for key, message in findings if not f"{dotted(key)}.".startswith(reported)]
    if new or file.problems or paper is None:
        raise Problems([*file.problems, *new])
    return tuple(_published_result(paper, table, row) for table in paper.tables for row in table.rows)


def _published_result(paper: Paper, table: PaperTable, row: PaperRow) -> PublishedResult:
    figures: dict[str, dict[str, float]] = {}
    for column, figure in zip(table.columns, row.figures, strict=True):
        if figure is not None:
            name, metric = _split_column(column)
            # From 86.2 to 0.862, not to 0.8620000000000001.
            figures.setdefault(paper.datasets[name].task, {})[metric] = round(figure / 100, 10)
    place = f"{paper.paper}, {table.place}" + (f" ({row.note})" if row.note else "")
    return PublishedResult(row.model, row.setting, figures, place)


def _split_column(column: str) -> tuple[str, str]:
    name, _, metric = column.rpartition(" ")
    return name, metric


def _broken_rules(paper: Paper) -> Iterator[Finding]:
    """Rules that involve more than one key."""
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


def _wrong_columns(paper: Paper, table: PaperTable) -> Iterator[tuple[int, str]]:
    for number, column in enumerate(table.columns):
        name, metric = _split_column(column)
        if name not in paper.datasets:
            yield number, f"no data set {name or column} above{did_you_mean(name or column, paper.datasets)}"
        elif metric not in METRICS:
            yield number, f"no such metric {metric}{did_you_mean(metric, METRICS)}; known are {', '.join(METRICS)}"
        elif column in table.columns[:number]:
            yield number, f"{column} is given twice"


def _wrong_figures(table: PaperTable, row: PaperRow) -> Iterator[str]:
    if len(row.figures) != len(table.columns):
        yield f"{len(row.figures)} figures for {len(table.columns)} columns; write ~ for a missing figure"
        return
    for column, figure in zip(table.columns, row.figures, strict=True):
        if figure is not None and figure < 0 and _split_column(column)[1] != "mcc":
            yield f"{column} is {figure}: only mcc can be below 0"
