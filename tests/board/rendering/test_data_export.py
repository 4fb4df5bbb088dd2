"""`board.json` and `board.csv` hold every figure, but no documents and no formulas."""

import csv
import io
import json
from dataclasses import asdict, replace

import pandas as pd
import pytest

from fin_plugins.board.board_data import METRICS, Board, Estimate
from fin_plugins.board.rendering.data_export import FIELDS, csv_text, json_text
from tests.board import boards


def test_json_has_the_board(full_board: Board) -> None:
    read = json.loads(json_text(full_board))
    assert [column["key"] for column in read["columns"]] == [column.key for column in full_board.columns]
    assert {(cell["column"], cell["model"]) for cell in read["cells"]} == set(full_board.cells)
    for cell in read["cells"]:
        expected = full_board.cells[cell["column"], cell["model"]]
        assert cell["figures"] == {name: asdict(estimate) for name, estimate in expected.figures.items()}
        assert cell["confusion"] == (None if expected.confusion is None else expected.confusion.tolist())
        assert cell["conditions"]["data"] in ("real", "sample") and cell["source"]["harness"] == "0.4.12"
    for part in ("means", "ranks", "contrasts", "forgetting", "published", "problems", "older"):
        assert len(read[part]) == len(getattr(full_board, part)) > 0
    assert read["contrasts"][0] == asdict(full_board.contrasts[0])
    assert read["tests"] == full_board.tests


def test_json_has_no_documents() -> None:
    board = boards.hostile()
    text = json_text(board)
    documents = board.columns[0].entries[0].documents
    assert documents is not None and documents.texts is not None
    assert "Document 1 of" not in text and documents.hashes[0] not in text and "I say" not in text


def test_nan_is_null(full_board: Board) -> None:
    odd = replace(full_board.means[0], figures={"acc": Estimate(float("nan"), float("-inf"), 1.0)})
    read = json.loads(json_text(replace(full_board, means=(odd,))))
    assert read["means"][0]["figures"]["acc"] == {"value": None, "low": None, "high": 1.0}


def test_every_figure_is_there_with_its_interval(full_board: Board) -> None:
    frame = pd.read_csv(io.StringIO(csv_text(full_board)))
    measured = frame[frame.kind == "measured"].set_index(["column", "model", "metric"])
    assert len(measured) == sum(len(cell.figures) for cell in full_board.cells.values())
    for (key, model), cell in full_board.cells.items():
        for name, estimate in cell.figures.items():
            row = measured.loc[key, model, name]
            assert row.value == pytest.approx(estimate.value, abs=1e-6)
            assert pd.isna(row.low) if estimate.low is None else row.low == pytest.approx(estimate.low, abs=1e-6)
            assert (None if pd.isna(row.floor_side) else row.floor_side) == cell.floor_sides.get(name)
            assert row.documents == cell.entry.n


def test_means_have_ranks_and_missing_tasks(full_board: Board) -> None:
    frame = pd.read_csv(io.StringIO(csv_text(full_board)))
    means = frame[frame.kind == "mean"]
    assert len(means) == len(full_board.means) * len(METRICS)
    assert means["rank"].notna().sum() == len(full_board.ranks)
    assert set(means[means.missing_tasks.notna()].model) == {"multi-task"}
    assert set(means.data) == {"real"}


def test_published_figures_are_marked(full_board: Board) -> None:
    frame = pd.read_csv(io.StringIO(csv_text(full_board)))
    published = frame[frame.kind == "published"]
    assert len(published) == 8 and set(published.place) == {"arXiv 2411.02476, table 3"}
    assert published["column"].isna().all() and published.low.isna().all()


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", '"quoted", and more', "line\nbreak"])
def test_names_are_no_formulas(full_board: Board, name: str) -> None:
    column = replace(full_board.columns[0], entries=(replace(full_board.columns[0].entries[0], model=name),))
    cells = {(column.key, name): replace(full_board.cells[column.key, "base"], entry=column.entries[0])}
    rows = list(csv.DictReader(io.StringIO(csv_text(replace(boards.empty(), columns=(column,), cells=cells)))))
    assert len(rows) == 4 and set(rows[0]) == set(FIELDS)
    displayed = rows[0]["model"]
    clean = " ".join(name.split())
    assert displayed == (f"'{clean}" if clean[0] in "=+-@" else clean)


def test_a_negative_figure_stays_a_number(full_board: Board) -> None:
    cell = full_board.cells["fin_fpb", "base"]
    low = replace(cell, figures={"mcc": replace(cell.figures["mcc"], value=-0.25)})
    rows = list(csv.DictReader(io.StringIO(csv_text(replace(full_board, cells={("fin_fpb", "base"): low})))))
    assert rows[0]["value"] == "-0.250000"
