"""`fin board` on the command line, with result and sample files as lm-eval writes them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.conftest import ROOT

from fin_plugins.cli.main import fin
from fin_plugins.common.errors import FinError

FILES = {"index.html", "board.md", "board.csv", "board.json", "board.tex"}


def run_board(*arguments: str | Path) -> Result:
    return CliRunner().invoke(fin, ["board", *map(str, arguments)])


def error_message(*arguments: str | Path) -> str:
    """Message of the error; `main` gives it its status."""
    error = run_board(*arguments).exception
    assert isinstance(error, FinError)
    return str(error)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models on five seen tasks and an unseen one, whose answers are generated; 40 documents each."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        from board_files import make_tasks, write_runs

        assert len(list(write_runs(folder, 3, make_tasks(6, 1, 40, [3])))) == 3
    return folder


@pytest.fixture
def disagreeing_results(results: Path, tmp_path: Path) -> Path:
    """The same, but the first model's accuracy on one task does not match its answers."""
    folder = tmp_path / "runs"
    shutil.copytree(results, folder)
    file = next((folder / "bench__model-000").glob("results_*.json"))
    data = json.loads(file.read_text())
    data["results"]["fin_fomc"]["acc,none"] -= 0.2
    file.write_text(json.dumps(data))
    return folder


@pytest.mark.parametrize("words", [["--help"], ["-h"]])
def test_help_lists_options_and_subcommands(words: list[str]) -> None:
    result = run_board(*words)
    assert result.exit_code == 0 and result.stdout.startswith("Usage: fin board [OPTIONS] RESULTS...")
    for word in ("--baseline", "--no-published", "fin board export", "fin board card"):
        assert word in result.stdout


@pytest.mark.parametrize("name", ["export", "card"])
def test_subcommands_have_help(name: str) -> None:
    result = run_board(name, "--help")
    assert result.exit_code == 0 and result.stdout.startswith(f"Usage: fin board {name} [OPTIONS]")


def test_a_board(results: Path, tmp_path: Path) -> None:
    result = run_board("--out", tmp_path / "out", results)
    assert result.exit_code == 0
    assert all(line.startswith("fin board: ") for line in result.stderr.splitlines())  # progress, on a slow machine
    assert {file.name for file in (tmp_path / "out").iterdir()} == FILES
    first, *others = result.stdout.splitlines()
    assert all(count in first for count in ("3 models", "6 columns", "18 results", "28 published"))
    assert others[-1].startswith(f"{tmp_path / 'out' / 'index.html'}: ")
    places = others[others.index("seen data sets, label likelihood: rank with interval, mean weighted F1 in %") + 1 :]
    assert {line.split()[-1] for line in places[:3]} == {"model-000", "model-001", "model-002"}


def test_forgetting_json_and_no_papers(results: Path, tmp_path: Path) -> None:
    words = ["--baseline", "model-000", "--reference", "model-001", "--unseen", "fin_fomc", "--json", "--no-published"]
    result = run_board(results, "--out", tmp_path, *words)
    data = json.loads(result.stdout)
    assert result.exit_code == 0 and data["published"] == 0 and data["problems"] == []
    assert {Path(file).name for file in data["files"]} == FILES
    assert [column["key"] for column in data["columns"]][-1] == "fin_argument_gen"
    written = json.loads((tmp_path / "board.json").read_text())
    forgetting = [row for row in written["forgetting"] if row["protocol"] == "choice"]
    assert {row["model"] for row in forgetting} == {"model-001", "model-002"}
    assert all(row["baseline"] == "model-000" and list(row["unseen"]) == ["fin_fomc"] for row in forgetting)


def test_disagreeing_figures_are_status_1_and_the_rest_is_written(disagreeing_results: Path, tmp_path: Path) -> None:
    result = run_board(disagreeing_results, "--out", tmp_path / "out")
    assert result.exit_code == 1 and {file.name for file in (tmp_path / "out").iterdir()} == FILES
    assert "17 results" in result.stdout
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("error: ")]
    assert "bench__model-000" in line and "acc" in line
    assert run_board("card", "model-001", disagreeing_results).exit_code == 1


def test_no_usable_results(tmp_path: Path) -> None:
    (tmp_path / "results_2026-01-01T00-00-00.json").write_text('{"results": ')
    result = run_board(tmp_path, "--out", tmp_path / "out")
    assert isinstance(result.exception, FinError) and "no results to show" in str(result.exception)
    assert "results_2026-01-01T00-00-00.json: " in result.stderr
    assert not (tmp_path / "out").exists()


def test_misspelt_names_are_reported_before_anything_is_written(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    message = error_message(results, "--out", out, "--baseline", "modell-000")
    assert message.startswith("--baseline modell-000: ") and "model-000?" in message and "model-002" in message
    assert "fin_fomc?" in error_message(results, "--out", out, "--unseen", "fin_fmoc")
    assert "model-001?" in error_message("card", "model-01", results)
    assert "nobody" in error_message(results, "--out", out, "--name", "nobody=x")
    misspelt = run_board("exprot", results, "--out", out)
    assert misspelt.exit_code == 2 and "export?" in misspelt.stderr
    (tmp_path / "file").touch()
    assert "file: " in error_message(results, "--out", tmp_path / "file")
    assert not out.exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--out", "x"],
        ["."],
        [".", "--out", "x", "--refrence", "a"],
        [".", "--out", "x", "--reference", "model-001"],
        [".", "--out", "x", "--name", "model-001"],
        [".", "--out", "x", "--name", "model-001="],
        [".", "--out", "x", "--name", "a=b", "--name", "a=c"],
        ["export"],
        ["card", "model-001"],
    ],
)
def test_usage_errors_are_status_2(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_board(*words).exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_names(results: Path, tmp_path: Path) -> None:
    words = ["--name", "bench/model-002=the last", "--name", "model-001=next", "--baseline", "the last", "--json"]
    data = json.loads(run_board(results, "--out", tmp_path, *words).stdout)
    assert all(set(column["models"]) == {"model-000", "next", "the last"} for column in data["columns"])


def test_texts_are_on_the_page_only_on_request(results: Path, tmp_path: Path) -> None:
    samples = next(results.rglob("samples_fin_argument_gen_*.jsonl")).read_text().splitlines()
    wrong = next(row for row in map(json.loads, samples) if row["acc"] == 0)
    for flags, is_there in (([], False), (["--with-documents"], True)):
        assert run_board(results, "--out", tmp_path, *flags).exit_code == 0
        assert (wrong["doc"]["text"] in (tmp_path / "index.html").read_text()) == is_there


def test_the_exported_form_makes_the_same_figures(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run_board("export", results, "--out", "export", "--name", "model-002=last")
    assert (result.exit_code, result.stdout) == (0, f"{Path('export', 'answers.parquet')}\n")
    # `./export` is a folder, `export` the subcommand.
    assert run_board("./export", "--out", "again").exit_code == 0
    assert run_board(results, "--out", "first", "--name", "model-002=last").exit_code == 0
    again, first = (_figures(tmp_path / name / "board.json") for name in ("again", "first"))
    assert again == first and len(first) == 18


def _figures(file: Path) -> dict[tuple[str, str], Any]:
    return {(cell["column"], cell["model"]): cell["figures"] for cell in json.loads(file.read_text())["cells"]}


def test_a_card(results: Path) -> None:
    result = run_board("card", "model-001", results, "--benchmark", "someone/finance")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("---\nmodel-index:\n- name: model-001\n") and "id: someone/finance" in result.stdout
    assert result.stdout.endswith("```\n")
