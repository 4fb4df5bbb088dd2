"""Test rows that a model was trained on are counted, said once, and stand in the result file and on the board."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fin_plugins.board.export import export
from fin_plugins.board.reading.read import read_results
from fin_plugins.data.trained_rows import FILE, row_hash, trained_rows_text
from tests.evaluation.running import World

pytestmark = pytest.mark.usefixtures("quick")


def _record(folder: Path, *texts: str) -> None:
    (folder / FILE).write_text(trained_rows_text(map(row_hash, texts)))


def _said(world: World, model: str) -> Any:
    return world.results(model)["config"]["fin"].get("test_rows_trained_on")


def _notes(folder: Path) -> list[tuple[str, str]]:
    reading = read_results([folder])
    return [
        (column.task, note)
        for column in reading.columns
        for entry in column.entries
        for note in entry.notes
        if "trained on" in note
    ]


@pytest.fixture
def fresh(world: World) -> World:
    for folder in world.output.glob("*__*"):
        shutil.rmtree(folder)
    return world


def test_test_rows_in_an_adapters_record(fresh: World, capfd: pytest.CaptureFixture[str]) -> None:
    _record(fresh.adapter("one"), "Rates rose AGAIN.", " Nothing  happened.", "Another row.")
    fresh.run(*fresh.flags(), tasks="first,reply")
    said = [line for line in capfd.readouterr().err.splitlines() if "trained on" in line]
    assert len(said) == 2
    assert all("one" in line and "2 of 4" in line for line in said)
    assert (_said(fresh, "one"), _said(fresh, "two"), _said(fresh, "base")) == ({"first": 2, "reply": 2}, None, None)
    assert ("first", "The model was trained on 2 of 4 test rows.") in _notes(fresh.output)
    export([fresh.output], fresh.root / "exported", {})
    assert _notes(fresh.root / "exported") == _notes(fresh.output)
    problems = read_results([fresh.output]).problems
    assert [one for one in problems if "first" in one.message and "2 of 4" in one.message and not one.is_error]


def test_rows_of_the_base_count_for_its_adapters(fresh: World) -> None:
    _record(fresh.base, "The bank eased.")
    _record(fresh.adapter("one"), "Another row.")
    fresh.run(*fresh.flags("one"), tasks="first")
    assert _said(fresh, "base") == _said(fresh, "one") == {"first": 1}


def test_a_record_without_test_rows(fresh: World, capfd: pytest.CaptureFixture[str]) -> None:
    _record(fresh.adapter("one"), "Another row.")
    fresh.run(*fresh.flags("one"), tasks="first")
    assert _said(fresh, "one") == {} and not _notes(fresh.output)
    assert "trained on" not in capfd.readouterr().err


def test_the_board_looks_beside_the_weights_where_the_result_does_not_say(fresh: World) -> None:
    fresh.run(*fresh.flags("one"), tasks="first")
    assert not _notes(fresh.output)
    _record(fresh.adapter("one"), "The bank eased.")
    (file,) = fresh.output.glob("*__one/results_*.json")
    data = json.loads(file.read_text())
    del data["config"]["fin"]  # as lm-eval alone writes it
    file.write_text(json.dumps(data))
    assert _notes(fresh.output) == [("first", "The model was trained on 1 of 4 test rows.")]
