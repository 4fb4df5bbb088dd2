"""Boards of exactly what lists name, and of the same bytes wherever and whenever the results were made."""

import json
import shutil
from pathlib import Path

from click.testing import CliRunner, Result

from fin_plugins.cli.main import fin
from fin_plugins.evaluation.outputs import write_list
from tests.board.reading.runs import STAMP, Run, model

LATER = "2031-05-06T07-08-09.123456"


def listed(run: Run, file: Path) -> Path:
    files = sorted(run.folder.iterdir(), key=lambda one: one.suffix == ".json")
    write_list(file, "base", files)
    return file


def board(out: Path, *words: str) -> Result:
    return CliRunner().invoke(fin, ["board", *words, "--out", str(out)])


def test_only_what_is_listed_is_on_the_board(real_run: Run, tmp_path: Path) -> None:
    one = real_run.copy(tmp_path / "all" / "one", model(pretrained="org/one"))
    real_run.copy(tmp_path / "all" / "two", model(pretrained="org/two"))
    done = board(tmp_path / "board", str(listed(one, tmp_path / "lists" / "one-3f2a.json")))
    assert done.exit_code == 0, done.output
    data = json.loads((tmp_path / "board" / "board.json").read_text())
    assert {cell["model"] for cell in data["cells"]} == {"one"}
    assert {cell["source"]["file"] for cell in data["cells"]} == {"one-3f2a.json"}


def test_the_same_results_in_other_places_and_hours_give_the_same_bytes(real_run: Run, tmp_path: Path) -> None:
    boards = []
    for place, stamp, hour in (("here", STAMP, 7), ("far/away", LATER, 22)):
        day = 1_800_000_000 // 86400 * 86400
        at = day + hour * 3600
        run = real_run.copy(tmp_path / place / "scores", lambda data, at=at: data.update(date=at), stamp=stamp)
        file = listed(run, tmp_path / place / "written" / "base.json")
        assert board(tmp_path / place / "board", str(file)).exit_code == 0
        boards.append({one.name: one.read_bytes() for one in (tmp_path / place / "board").iterdir()})
    assert boards[0] == boards[1] and len(boards[0]) == 5
    assert b"2027-01-15 UTC" in boards[0]["index.html"]


def test_a_list_whose_files_are_gone(real_run: Run, tmp_path: Path) -> None:
    run = real_run.copy(tmp_path / "scores")
    file = listed(run, tmp_path / "base.json")
    shutil.rmtree(run.folder)
    done = board(tmp_path / "board", str(file))
    assert done.exit_code == 1 and "which is not there: run the `fin eval` again" in done.output
