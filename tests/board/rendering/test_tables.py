"""`board.csv`: every figure on a line of its own, and nothing that a spreadsheet would run."""

import csv
import io
from dataclasses import replace

import pandas as pd
import pytest

from fin_plugins.board.model import METRICS, Board
from fin_plugins.board.rendering.tables import FIELDS, table
from tests.board import boards


def test_every_figure_is_there_with_its_interval(made: Board) -> None:
    frame = pd.read_csv(io.StringIO(table(made)))
    measured = frame[frame.kind == "measured"].set_index(["column", "model", "metric"])
    assert len(measured) == sum(len(cell.figures) for cell in made.cells.values())
    for (key, model), cell in made.cells.items():
        for name, estimate in cell.figures.items():
            row = measured.loc[key, model, name]
            assert row.value == pytest.approx(estimate.value, abs=1e-6)
            assert pd.isna(row.low) if estimate.low is None else row.low == pytest.approx(estimate.low, abs=1e-6)
            assert (None if pd.isna(row.floor_side) else row.floor_side) == cell.not_above.get(name)
            assert row.documents == cell.entry.n


def test_means_carry_their_places_and_what_they_lack(made: Board) -> None:
    frame = pd.read_csv(io.StringIO(table(made)))
    means = frame[frame.kind == "mean"]
    assert len(means) == len(made.means) * len(METRICS)
    assert means["rank"].notna().sum() == len(made.ranks)
    assert set(means[means.missing_tasks.notna()].model) == {"multi-task"}
    assert set(means.data) == {"real"}


def test_published_figures_are_a_kind_of_their_own(made: Board) -> None:
    frame = pd.read_csv(io.StringIO(table(made)))
    published = frame[frame.kind == "published"]
    assert len(published) == 8 and set(published.place) == {"arXiv 2411.02476, table 3"}
    assert published["column"].isna().all() and published.low.isna().all()


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", '"quoted", and more', "line\nbreak"])
def test_a_name_is_no_formula_and_no_line_break(made: Board, name: str) -> None:
    column = replace(made.columns[0], entries=(replace(made.columns[0].entries[0], model=name),))
    cells = {(column.key, name): replace(made.cells[column.key, "base"], entry=column.entries[0])}
    rows = list(csv.DictReader(io.StringIO(table(replace(boards.empty(), columns=(column,), cells=cells)))))
    assert len(rows) == 4 and set(rows[0]) == set(FIELDS)
    shown = rows[0]["model"]
    clean = " ".join(name.split())
    assert shown == (f"'{clean}" if clean[0] in "=+-@" else clean)


def test_a_negative_figure_stays_a_number(made: Board) -> None:
    cell = made.cells["fin_fpb", "base"]
    low = replace(cell, figures={"mcc": replace(cell.figures["mcc"], value=-0.25)})
    rows = list(csv.DictReader(io.StringIO(table(replace(made, cells={("fin_fpb", "base"): low})))))
    assert rows[0]["value"] == "-0.250000"
