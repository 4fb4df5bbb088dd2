"""What is said on a terminal, and the check of what was typed."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fin_plugins.board import asked
from fin_plugins.board.model import Board, Problem, Reading
from fin_plugins.board.progress import told_when_long
from fin_plugins.board.summary import as_data, as_lines, problem_lines
from fin_plugins.common.errors import FinError
from tests.board.boards import PLAIN, board, hostile


@pytest.fixture(scope="module")
def made() -> Board:
    return board()


@pytest.fixture(scope="module")
def reading(made: Board) -> Reading:
    return Reading(made.columns, made.older, made.problems)


def test_what_was_read(made: Board) -> None:
    first = as_lines(made)[0]
    assert first.startswith("read: 4 models, 10 columns, 38 results, ") and first.endswith(
        "1 older result left out, 2 published rows"
    )
    assert "1 of them without samples, so without intervals" in first


def test_the_best_stand_first_with_their_intervals(made: Board) -> None:
    lines = as_lines(made)
    start = lines.index("seen data sets, label likelihood: place and its interval, mean weighted F1 in %")
    means = {mean.model: mean for mean in made.means if (mean.protocol, mean.group) == ("choice", "seen")}
    best = max(PLAIN, key=lambda model: means[model].figures["weighted_f1"].value)
    figure = means[best].figures["weighted_f1"]
    assert figure.low is not None and figure.high is not None
    shown = f"{100 * figure.value:.1f} ({100 * figure.low:.1f} to {100 * figure.high:.1f})"
    assert lines[start + 1].split(None, 2)[:2] == ["1", "(1-2)"]
    assert shown in lines[start + 1] and lines[start + 1].endswith(best)
    assert sum("generation" in line for line in lines) == 3


def test_a_group_that_is_all_there_is_stands_once(made: Board) -> None:
    ranks = tuple(rank for rank in made.ranks if rank.protocol == "choice" and rank.group != "seen")
    assert sum("place and its interval" in line for line in as_lines(replace(made, ranks=ranks))) == 2
    unseen = next(mean.columns for mean in made.means if (mean.protocol, mean.group) == ("choice", "unseen"))
    means = tuple(replace(mean, columns=unseen) for mean in made.means)
    lines = [line for line in as_lines(replace(made, ranks=ranks, means=means)) if "place and its interval" in line]
    assert len(lines) == 1 and lines[0].startswith("unseen data sets")


def test_a_long_ranking_is_cut_and_says_so() -> None:
    lines = as_lines(board([f"model {number}" for number in range(9)], ("fin_fpb", "fin_argument"), 20))
    assert lines.count("  and 4 more") >= 4


def test_places_without_an_interval_and_places_on_sample_rows(made: Board) -> None:
    rank = replace(made.ranks[0], metric="weighted_f1", low=None, high=None)
    columns = [replace(one, conditions=replace(one.conditions, data="sample")) for one in made.columns]
    lines = as_lines(replace(made, ranks=(rank,), columns=tuple(columns)))
    assert "embedded sample rows (no benchmark)" in lines[2]
    assert "(" not in lines[3].split("%")[0][:16]


def test_without_places_the_best_of_each_column(made: Board) -> None:
    lines = as_lines(replace(made, ranks=()))
    cells = [made.cells["fin_fpb", model] for model in PLAIN]
    best = max(cells, key=lambda cell: cell.figures["weighted_f1"].value)
    assert lines[2].split()[0] == "fin_fpb" and lines[2].endswith(best.entry.model)


def test_names_do_not_steer_the_terminal() -> None:
    lines = as_lines(hostile())
    assert all(line.isprintable() and len(line) < 200 for line in lines)


def test_problems_are_a_line_each_errors_first() -> None:
    problems = [Problem("a.json", "gone", False), Problem("b.json", "wrong\nall over", True)]
    assert problem_lines(problems) == ["error: b.json: wrong all over", "note: a.json: gone"]
    many = problem_lines([Problem(f"{number}.json", "gone", False) for number in range(30)])
    assert len(many) == 21 and many[-1] == "and 10 more: board.json has them all"


def test_json(made: Board) -> None:
    found = json.loads(json.dumps(as_data(made, [Path("out/index.html")])))
    assert found["files"] == ["out/index.html"] and len(found["columns"]) == len(made.columns)
    assert found["columns"][0]["models"] == list(PLAIN) and len(found["ranks"]) == len(made.ranks)
    assert [one["is_error"] for one in found["problems"]] == [True, False]


def test_models_and_tasks_with_the_nearest_that_is_known(reading: Reading) -> None:
    asked.known_model("--baseline", "base", reading)
    asked.known_model("--baseline", None, reading)
    asked.known_tasks("--unseen", ["fin_finred"], reading)
    with pytest.raises(
        FinError, match=r"--baseline bass: no such model \(did you mean base\?\); there are base, multi"
    ):
        asked.known_model("--baseline", "bass", reading)
    with pytest.raises(FinError, match=r"--reference task: no such model \(did you mean multi-task\?\)"):
        asked.known_model("--reference", "task", reading)
    with pytest.raises(FinError, match=r"--unseen fin_finerd: no such task \(did you mean fin_finred\?\)"):
        asked.known_tasks("--unseen", ["fin_fpb", "fin_finerd"], reading)


def test_a_name_that_is_nobodys(reading: Reading) -> None:
    asked.used_names({"models/x": "multi-task", "org/y": "base"}, reading)
    with pytest.raises(FinError, match=r"--name fomk=stance: no model of that path or name was read \(did you mean"):
        asked.used_names({"fomk": "stance"}, reading)


def test_paths(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert asked.existing([str(file), str(tmp_path)]) == [file, tmp_path]
    assert asked.folder(tmp_path / "new" / "one") == tmp_path / "new" / "one"
    with pytest.raises(FinError, match=r"exprot: no such file or folder \(did you mean export\?\)"):
        asked.existing(["exprot"], ["export", "card"])
    for wrong in (file, file / "below"):
        with pytest.raises(FinError, match="is a file: name a folder"):
            asked.folder(wrong)


def test_long_work_is_told_and_short_work_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with told_when_long("reading"):
        pass
    assert capsys.readouterr().err == ""
    with told_when_long("reading", every=0.01):
        time.sleep(0.1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 2 and set(lines) == {"fin board: reading, 0 s"}
