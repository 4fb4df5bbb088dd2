"""A bad file is reported and never prevents the board."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fin_plugins.board.board_data import Board, Cell, Estimate, Problem
from fin_plugins.board.reading import answers_parquet
from fin_plugins.board.reading.answers_parquet import ExportedRun, format_export
from fin_plugins.board.reading.json_utils import MAX_RESULT_BYTES, UnusableFile, iter_json_lines
from fin_plugins.board.reading.load_runs import UNEXPECTED, load_runs
from fin_plugins.board.rendering.data_export import csv_text, json_text
from fin_plugins.board.rendering.document_tables import latex_text, markdown_text
from fin_plugins.board.statistics.build_board import build_board
from fin_plugins.cli.main import fin

STAMP = "2026-01-02T03-04-05.678901"
RESULT, SAMPLES = f"results_{STAMP}.json", f"samples_mood_{STAMP}.jsonl"
GOLD, ANSWERS = (0, 1, 0, 1), (0, 1, 1, 1)
Run = dict[str, Any]


@pytest.fixture(autouse=True)
def limited() -> Iterator[None]:
    """Fail rather than hang on a pipe or an endless device."""
    signal.alarm(240)
    yield
    signal.alarm(0)


def result_content(model: str, **changes: Any) -> Run:
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


def sample_rows(likelihood: str = "-9.0") -> list[Run]:
    rows = []
    for number, (gold, answer) in enumerate(zip(GOLD, ANSWERS, strict=True)):
        likelihoods = [[likelihood if label != answer else "-1.0", "False"] for label in range(2)]
        doc = {"text": f"text {number}", "choices": ["up", "down"], "gold": gold}
        pair = {"macro_f1": [gold, answer, 2], "acc": float(gold == answer)}
        rows.append({"doc_id": number, "doc_hash": f"{number:064}", "doc": doc, "filtered_resps": likelihoods, **pair})
    return rows


def write_run(folder: Path, run: Run, rows: list[Run] | None = None) -> Path:
    folder.mkdir(parents=True)
    (folder / RESULT).write_text(json.dumps(run))
    if rows is not None:
        (folder / SAMPLES).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder / RESULT


def build(*paths: Path) -> Board:
    """Build the board and render everything but the page, which takes longest."""
    built = build_board(load_runs(paths), draws=20)
    assert not any(UNEXPECTED in problem.message for problem in built.problems)
    for render in (markdown_text, json_text, csv_text, latex_text):
        assert render(built)
    return built


def check_the_rest_is_made(tmp_path: Path, bad: str, *paths: Path) -> tuple[Board, Problem]:
    """The board of a good run beside a bad file, and the problem with that file."""
    write_run(tmp_path / "runs" / "good", result_content("good-model"), sample_rows())
    board = build(*paths, tmp_path / "runs") if paths else build(tmp_path / "runs")
    assert cells(board)["good-model"].figures["acc"].low is not None
    (problem,) = (problem for problem in board.problems if bad in problem.file)
    return board, problem


def cells(board: Board) -> dict[str, Cell]:
    return {model: cell for (_, model), cell in board.cells.items()}


def device(file: Path) -> None:
    file.symlink_to("/dev/zero")


def loop(file: Path) -> None:
    file.symlink_to(file)


def sparse(file: Path) -> None:
    """A single line larger than the limit of a result file."""
    with file.open("wb") as stream:
        stream.truncate(MAX_RESULT_BYTES + 1)


def deep(file: Path) -> None:
    file.write_text("[" * 200_000)


def surrogate(file: Path) -> None:
    file.write_bytes(b'{"results": {"\xed\xa0\x80": {}}, "configs": {}, "config": {}}\n')


BAD: list[Callable[[Path], object]] = [os.mkfifo, Path.mkdir, device, loop, sparse, deep, surrogate]


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_a_bad_result_file(make: Callable[[Path], object], tmp_path: Path) -> None:
    """A folder with the name of a result file is searched, not read."""
    (tmp_path / "runs" / "bad").mkdir(parents=True)
    make(tmp_path / "runs" / "bad" / RESULT)
    if make is Path.mkdir:
        write_run(tmp_path / "runs" / "good", result_content("good-model"))
        assert cells(build(tmp_path / "runs"))["good-model"]
    else:
        check_the_rest_is_made(tmp_path, f"bad/{RESULT}")


@pytest.mark.parametrize(
    "make", [problem for problem in BAD if problem not in (Path.mkdir, loop)], ids=lambda make: make.__name__
)
@pytest.mark.parametrize("name", [RESULT, "list.json", "other"])
def test_bad_file_given_by_name(name: str, make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / name)
    check_the_rest_is_made(tmp_path, name, tmp_path / name)


@pytest.mark.parametrize("make", [make for make in BAD if make is not Path.mkdir], ids=lambda make: make.__name__)
def test_a_bad_export(make: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers_parquet, "MAX_FILE_BYTES", MAX_RESULT_BYTES)
    (tmp_path / "runs" / "bad").mkdir(parents=True)
    make(tmp_path / "runs" / "bad" / "answers.parquet")
    check_the_rest_is_made(tmp_path, "bad/answers.parquet")


@pytest.mark.parametrize(
    "metadata", [{}, {"configs": 5}, result_content("m"), result_content("m", fin_board=[])], ids=str
)
def test_a_bad_run_in_an_export(metadata: Run, tmp_path: Path) -> None:
    """A run without the part of an export, or with a broken one, costs only itself."""
    good = result_content("m", fin_board={"model": "exported-model"})
    runs = {"bad/results.json": ExportedRun(metadata, {}), "good/results.json": ExportedRun(good, {})}
    (tmp_path / "x.parquet").write_bytes(format_export(runs))
    board, problem = check_the_rest_is_made(tmp_path, "x.parquet", tmp_path / "x.parquet")
    assert problem.file == "x.parquet: bad/results.json"
    assert cells(board).keys() == {"good-model", "exported-model"}


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_a_bad_sample_file_costs_the_intervals_of_its_task(make: Callable[[Path], object], tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "bad", result_content("bad-model"))
    make(tmp_path / "runs" / "bad" / SAMPLES)
    board, _ = check_the_rest_is_made(tmp_path, f"bad/{SAMPLES}")
    assert cells(board)["bad-model"].figures["acc"] == Estimate(0.75, None, None)


@pytest.mark.parametrize(
    "content",
    [{"files": 5}, {"model": "m", "files": 5}, {"model": "m", "files": [5]}, {"model": "m", "files": ["gone\0.json"]}],
    ids=str,
)
def test_malformed_manifest(content: Run, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text(json.dumps(content))
    check_the_rest_is_made(tmp_path, "list.json", tmp_path / "list.json")


@pytest.mark.parametrize("date", [1e300, -1e15, 1e12, float("nan"), "yesterday", 10**400])
@pytest.mark.parametrize("stamp", [STAMP, "0000-00-00T00-00-00", "0001-01-01T00-00-00"])
def test_impossible_date(stamp: str, date: Any, tmp_path: Path) -> None:
    file = write_run(tmp_path / "runs" / "bad", result_content("bad-model", date=date))
    file.rename(file.with_name(f"results_{stamp}.json"))
    board, problem = check_the_rest_is_made(tmp_path, f"bad/results_{stamp}.json")
    assert "date" in problem.message and cells(board).keys() == {"good-model", "bad-model"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), "nan"])
@pytest.mark.parametrize("metric", ["acc,none", "mcc,none", "brier_score,none"])
def test_figure_that_is_not_finite_is_an_error(metric: str, value: Any, tmp_path: Path) -> None:
    figures = {"acc,none": 0.75, "acc_stderr,none": float("nan"), metric: value}
    write_run(tmp_path / "runs" / "bad", result_content("bad-model", results={"mood": figures}), sample_rows())
    board, problem = check_the_rest_is_made(tmp_path, f"bad/{RESULT}")
    assert problem.is_error and all(word in problem.message for word in ("mood", metric, "not finite"))
    assert cells(board).keys() == {"good-model"}


@pytest.mark.parametrize("likelihood", ["nan", "inf"])
@pytest.mark.parametrize("recorded", [True, False])
def test_likelihood_that_is_not_finite_is_an_error(recorded: bool, likelihood: str, tmp_path: Path) -> None:
    rows = sample_rows(likelihood)
    for row in [] if recorded else rows:
        del row["macro_f1"]
    write_run(tmp_path / "runs" / "bad", result_content("bad-model"), rows)
    board, problem = check_the_rest_is_made(tmp_path, f"bad/{SAMPLES}")
    assert problem.is_error and "not finite" in problem.message and "mood" in problem.message
    assert cells(board).keys() == {"good-model"}


def test_impossible_label_is_no_error(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "one", result_content("one"), sample_rows("-inf"))
    assert load_runs([tmp_path]).problems == ()


def test_all_labels_impossible_is_an_error(tmp_path: Path) -> None:
    rows = sample_rows()
    rows[2]["filtered_resps"] = [["-inf", "False"], ["-inf", "False"]]
    write_run(tmp_path / "runs" / "one", result_content("one"), rows)
    (problem,) = load_runs([tmp_path]).problems
    assert problem.is_error and "line 3" in problem.message


def test_too_many_labels_cost_the_intervals(tmp_path: Path) -> None:
    """Memory per model grows with the square of the labels."""
    rows = sample_rows()
    for row in rows:
        row["doc"]["choices"] += [f"label {number}" for number in range(5000)]
        row["filtered_resps"] += [["-20.0", "False"]] * 5000
        row["macro_f1"][2] += 5000
    write_run(tmp_path / "runs" / "one", result_content("one"), rows)
    reading = load_runs([tmp_path])
    (entry,) = reading.columns[0].entries
    assert entry.documents is None and any("5,002 labels" in note for note in entry.notes)


def test_command_reports_bad_files_and_writes_the_rest(tmp_path: Path) -> None:
    write_run(tmp_path / "good", result_content("good-model"), sample_rows())
    for make in (os.mkfifo, device, loop, sparse, deep, surrogate):
        (tmp_path / make.__name__).mkdir()
        make(tmp_path / make.__name__ / RESULT)
    invocation = CliRunner().invoke(fin, ["board", str(tmp_path), "--out", str(tmp_path / "board")])
    assert invocation.exit_code == 0, invocation.output
    assert {file.name for file in (tmp_path / "board").iterdir()} > {"index.html", "board.json"}
    for name in ("mkfifo", "device", "loop", "sparse", "deep", "surrogate"):
        assert f"{name}/{RESULT}: " in invocation.output


def test_lines_and_files_have_a_limit(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_bytes(b'{"a": 1}\n\n{"a": 22}\n')
    assert list(iter_json_lines(file, line_limit=10, file_limit=20)) == [(1, {"a": 1}), (3, {"a": 22})]
    with pytest.raises(UnusableFile, match=r"line 3 .* 9 bytes"):
        list(iter_json_lines(file, line_limit=9, file_limit=20))
    with pytest.raises(UnusableFile, match="19 bytes"):
        list(iter_json_lines(file, line_limit=10, file_limit=19))
