"""One bad file never costs the board: it is named, and the rest is made."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fin_plugins.board.model import Board, Cell, Estimate, Problem
from fin_plugins.board.reading import read_results
from fin_plugins.board.reading.lines import objects
from fin_plugins.board.reading.read import UNFORESEEN
from fin_plugins.board.reading.values import MAX_RESULT, Unusable
from fin_plugins.board.rendering.latex import latex
from fin_plugins.board.rendering.markdown import markdown
from fin_plugins.board.rendering.plain import plain
from fin_plugins.board.rendering.tables import table
from fin_plugins.board.statistics import board_of
from fin_plugins.cli.main import fin

STAMP = "2026-01-02T03-04-05.678901"
RESULT, SAMPLES = f"results_{STAMP}.json", f"samples_mood_{STAMP}.jsonl"
GOLD, ANSWERS = (0, 1, 0, 1), (0, 1, 1, 1)
Run = dict[str, Any]


@pytest.fixture(autouse=True)
def limited() -> Iterator[None]:
    """A reader that waits for a pipe, or reads a device without end, fails and does not hang."""
    signal.alarm(240)
    yield
    signal.alarm(0)


def result(model: str, **changes: Any) -> Run:
    fin_data = {"seen": False, "data": "real", "content_hash": {"test": "c"}}
    config = {"output_type": "multiple_choice", "test_split": "test", "metadata": {"version": 1, "fin": fin_data}}
    run: Run = {
        "results": {"mood": {"acc,none": 0.75}},
        "configs": {"mood": config},
        "config": {"model": "hf", "model_args": {"pretrained": f"org/{model}"}},
        "n-samples": {"mood": {"original": 4, "effective": 4}},
        "date": 1.8e9,
    }
    return run | changes


def lines(likelihood: str = "-9.0") -> list[Run]:
    found = []
    for number, (gold, answer) in enumerate(zip(GOLD, ANSWERS, strict=True)):
        likelihoods = [[likelihood if label != answer else "-1.0", "False"] for label in range(2)]
        doc = {"text": f"text {number}", "choices": ["up", "down"], "gold": gold}
        pair = {"macro_f1": [gold, answer, 2], "acc": float(gold == answer)}
        found.append({"doc_id": number, "doc_hash": f"{number:064}", "doc": doc, "filtered_resps": likelihoods, **pair})
    return found


def write(folder: Path, run: Run, rows: list[Run] | None = None) -> Path:
    folder.mkdir(parents=True)
    (folder / RESULT).write_text(json.dumps(run))
    if rows is not None:
        (folder / SAMPLES).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder / RESULT


def board(*paths: Path) -> Board:
    """The board, with everything but the page rendered: that takes the longest."""
    made = board_of(read_results(paths), draws=20)
    assert not any(UNFORESEEN in problem.message for problem in made.problems)
    for render in (markdown, plain, table, latex):
        assert render(made)
    return made


def check_the_rest_is_made(tmp_path: Path, bad: str, *paths: Path) -> tuple[Board, Problem]:
    """The board of what is good beside something bad, and what it says of that."""
    write(tmp_path / "runs" / "good", result("good-model"), lines())
    made = board(*paths, tmp_path / "runs") if paths else board(tmp_path / "runs")
    assert cells(made)["good-model"].figures["acc"].low is not None
    (problem,) = (one for one in made.problems if bad in one.file)
    return made, problem


def cells(made: Board) -> dict[str, Cell]:
    return {model: cell for (_, model), cell in made.cells.items()}


def device(file: Path) -> None:
    file.symlink_to("/dev/zero")


def loop(file: Path) -> None:
    file.symlink_to(file)


def sparse(file: Path) -> None:
    """One line without an end, beyond the limit of a result file."""
    with file.open("wb") as stream:
        stream.truncate(MAX_RESULT + 1)


def deep(file: Path) -> None:
    file.write_text("[" * 200_000)


def surrogate(file: Path) -> None:
    file.write_bytes(b'{"results": {"\xed\xa0\x80": {}}, "configs": {}, "config": {}}\n')


BAD: list[Callable[[Path], object]] = [os.mkfifo, Path.mkdir, device, loop, sparse, deep, surrogate]


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_a_bad_result_file(make: Callable[[Path], object], tmp_path: Path) -> None:
    """Below a folder; a folder of such a name is walked, not read."""
    (tmp_path / "runs" / "bad").mkdir(parents=True)
    make(tmp_path / "runs" / "bad" / RESULT)
    if make is Path.mkdir:
        write(tmp_path / "runs" / "good", result("good-model"))
        assert cells(board(tmp_path / "runs"))["good-model"]
    else:
        check_the_rest_is_made(tmp_path, f"bad/{RESULT}")


@pytest.mark.parametrize("make", [one for one in BAD if one not in (Path.mkdir, loop)], ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", [RESULT, "list.json", "other"])
def test_a_bad_file_that_is_given_by_name(name: str, make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / name)
    check_the_rest_is_made(tmp_path, name, tmp_path / name)


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_a_bad_sample_file_costs_the_intervals_of_its_task(make: Callable[[Path], object], tmp_path: Path) -> None:
    write(tmp_path / "runs" / "bad", result("bad-model"))
    make(tmp_path / "runs" / "bad" / SAMPLES)
    made, _ = check_the_rest_is_made(tmp_path, f"bad/{SAMPLES}")
    assert cells(made)["bad-model"].figures["acc"] == Estimate(0.75, None, None)


@pytest.mark.parametrize(
    "content",
    [{"files": 5}, {"model": "m", "files": 5}, {"model": "m", "files": [5]}, {"model": "m", "files": ["gone\0.json"]}],
    ids=str,
)
def test_a_list_that_is_none(content: Run, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text(json.dumps(content))
    check_the_rest_is_made(tmp_path, "list.json", tmp_path / "list.json")


@pytest.mark.parametrize("date", [1e300, -1e15, 1e12, float("nan"), "yesterday", 10**400])
@pytest.mark.parametrize("stamp", [STAMP, "0000-00-00T00-00-00", "0001-01-01T00-00-00"])
def test_a_date_that_is_none(stamp: str, date: Any, tmp_path: Path) -> None:
    file = write(tmp_path / "runs" / "bad", result("bad-model", date=date))
    file.rename(file.with_name(f"results_{stamp}.json"))
    made, problem = check_the_rest_is_made(tmp_path, f"bad/results_{stamp}.json")
    assert "date" in problem.message and cells(made).keys() == {"good-model", "bad-model"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), "nan"])
@pytest.mark.parametrize("metric", ["acc,none", "mcc,none", "brier_score,none"])
def test_a_figure_that_is_not_finite_is_a_disagreement(metric: str, value: Any, tmp_path: Path) -> None:
    figures = {"acc,none": 0.75, "acc_stderr,none": float("nan"), metric: value}
    write(tmp_path / "runs" / "bad", result("bad-model", results={"mood": figures}), lines())
    made, problem = check_the_rest_is_made(tmp_path, f"bad/{RESULT}")
    assert problem.is_error and all(word in problem.message for word in ("mood", metric, "not finite"))
    assert cells(made).keys() == {"good-model"}


@pytest.mark.parametrize("likelihood", ["nan", "inf"])
@pytest.mark.parametrize("recorded", [True, False])
def test_a_likelihood_that_is_not_finite_is_a_disagreement(recorded: bool, likelihood: str, tmp_path: Path) -> None:
    rows = lines(likelihood)
    for row in [] if recorded else rows:
        del row["macro_f1"]
    write(tmp_path / "runs" / "bad", result("bad-model"), rows)
    made, problem = check_the_rest_is_made(tmp_path, f"bad/{SAMPLES}")
    assert problem.is_error and "not finite" in problem.message and "mood" in problem.message
    assert cells(made).keys() == {"good-model"}


def test_a_label_that_cannot_be_is_no_disagreement(tmp_path: Path) -> None:
    write(tmp_path / "runs" / "one", result("one"), lines("-inf"))
    assert read_results([tmp_path]).problems == ()


def test_all_labels_that_cannot_be_are_one(tmp_path: Path) -> None:
    rows = lines()
    rows[2]["filtered_resps"] = [["-inf", "False"], ["-inf", "False"]]
    write(tmp_path / "runs" / "one", result("one"), rows)
    (problem,) = read_results([tmp_path]).problems
    assert problem.is_error and "line 3" in problem.message


def test_labels_without_number_cost_the_intervals(tmp_path: Path) -> None:
    """What is kept of a model grows with the square of the labels."""
    rows = lines()
    for row in rows:
        row["doc"]["choices"] += [f"label {number}" for number in range(5000)]
        row["filtered_resps"] += [["-20.0", "False"]] * 5000
        row["macro_f1"][2] += 5000
    write(tmp_path / "runs" / "one", result("one"), rows)
    reading = read_results([tmp_path])
    (entry,) = reading.columns[0].entries
    assert entry.documents is None and any("5,002 labels" in note for note in entry.notes)


def test_the_command_says_what_it_left_out_and_writes_the_rest(tmp_path: Path) -> None:
    write(tmp_path / "good", result("good-model"), lines())
    for make in (os.mkfifo, device, loop, sparse, deep, surrogate):
        (tmp_path / make.__name__).mkdir()
        make(tmp_path / make.__name__ / RESULT)
    done = CliRunner().invoke(fin, ["board", str(tmp_path), "--out", str(tmp_path / "board")])
    assert done.exit_code == 0, done.output
    assert {file.name for file in (tmp_path / "board").iterdir()} > {"index.html", "board.json"}
    for name in ("mkfifo", "device", "loop", "sparse", "deep", "surrogate"):
        assert f"{name}/{RESULT}: " in done.output


def test_lines_and_files_have_a_limit(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_bytes(b'{"a": 1}\n\n{"a": 22}\n')
    assert list(objects(file, longest=10, most=20)) == [(1, {"a": 1}), (3, {"a": 22})]
    with pytest.raises(Unusable, match="line 3 is longer than 9 bytes"):
        list(objects(file, longest=9, most=20))
    with pytest.raises(Unusable, match="larger than 19 bytes"):
        list(objects(file, longest=10, most=19))
