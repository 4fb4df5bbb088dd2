"""Test rows that a model was trained on: counted, warned of, in the result file and on the board."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fin_plugins.board.reading.load_runs import load_runs
from fin_plugins.board.results_export import export_results
from fin_plugins.data.text_hashes import TRAINED_ROWS_FILE, format_trained_rows, row_hash
from tests.evaluation.eval_workspace import EvalWorkspace

pytestmark = pytest.mark.usefixtures("quick")


def _record(folder: Path, *texts: str) -> None:
    (folder / TRAINED_ROWS_FILE).write_text(format_trained_rows(map(row_hash, texts)))


def _count(workspace: EvalWorkspace, model: str) -> Any:
    return workspace.results(model)["config"]["fin"].get("test_rows_trained_on")


def _notes(folder: Path) -> list[tuple[str, str]]:
    reading = load_runs([folder])
    return [
        (column.task, note)
        for column in reading.columns
        for entry in column.entries
        for note in entry.notes
        if "trained on" in note
    ]


@pytest.fixture
def fresh(workspace: EvalWorkspace) -> EvalWorkspace:
    for folder in workspace.output.glob("*__*"):
        shutil.rmtree(folder)
    return workspace


def test_test_rows_in_the_record_of_an_adapter(fresh: EvalWorkspace, capfd: pytest.CaptureFixture[str]) -> None:
    _record(fresh.adapter("one"), "Rates rose AGAIN.", " Nothing  happened.", "Another row.")
    fresh.run(*fresh.flags(), tasks="first,reply")
    warnings = [line for line in capfd.readouterr().err.splitlines() if "trained on" in line]
    assert len(warnings) == 2
    assert all("one" in line and "2 of 4" in line for line in warnings)
    assert (_count(fresh, "one"), _count(fresh, "two"), _count(fresh, "base")) == ({"first": 2, "reply": 2}, None, None)
    assert ("first", "The model was trained on 2 of 4 test rows.") in _notes(fresh.output)
    export_results([fresh.output], fresh.root / "exported", {})
    assert _notes(fresh.root / "exported") == _notes(fresh.output)
    problems = load_runs([fresh.output]).problems
    assert [p for p in problems if "first" in p.message and "2 of 4" in p.message and not p.is_error]


def test_rows_of_the_base_count_for_its_adapters(fresh: EvalWorkspace) -> None:
    _record(fresh.base, "The bank eased.")
    _record(fresh.adapter("one"), "Another row.")
    fresh.run(*fresh.flags("one"), tasks="first")
    assert _count(fresh, "base") == _count(fresh, "one") == {"first": 1}


def test_a_record_without_test_rows(fresh: EvalWorkspace, capfd: pytest.CaptureFixture[str]) -> None:
    _record(fresh.adapter("one"), "Another row.")
    fresh.run(*fresh.flags("one"), tasks="first")
    assert _count(fresh, "one") == {} and not _notes(fresh.output)
    assert "trained on" not in capfd.readouterr().err


def test_the_board_reads_the_record_if_the_result_has_no_count(fresh: EvalWorkspace) -> None:
    fresh.run(*fresh.flags("one"), tasks="first")
    assert not _notes(fresh.output)
    _record(fresh.adapter("one"), "The bank eased.")
    (file,) = fresh.output.glob("*__one/results_*.json")
    data = json.loads(file.read_text())
    del data["config"]["fin"]  # as in a file of lm-eval itself
    file.write_text(json.dumps(data))
    assert _notes(fresh.output) == [("first", "The model was trained on 1 of 4 test rows.")]
