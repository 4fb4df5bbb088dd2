"""`fin board` as typed, on result and sample files of the form that lm-eval writes."""

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


def typed(*words: str | Path) -> Result:
    return CliRunner().invoke(fin, ["board", *map(str, words)])


def message(*words: str | Path) -> str:
    """What the error says; the status `fin` gives it is `main`'s to test."""
    error = typed(*words).exception
    assert isinstance(error, FinError)
    return str(error)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models on five seen tasks and an unseen one, which is answered freely; 40 documents each."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        from board_files import make, make_tasks

        assert len(list(make(folder, 3, make_tasks(6, 1, 40, [3])))) == 3
    return folder


@pytest.fixture
def one_wrong(results: Path, tmp_path: Path) -> Path:
    """The same, where the first model's accuracy on one task is not what its answers give."""
    folder = tmp_path / "runs"
    shutil.copytree(results, folder)
    file = next((folder / "bench__model-000").glob("results_*.json"))
    data = json.loads(file.read_text())
    data["results"]["fin_fomc"]["acc,none"] -= 0.2
    file.write_text(json.dumps(data))
    return folder


@pytest.mark.parametrize("words", [["--help"], ["-h"]])
def test_help_names_options_and_verbs(words: list[str]) -> None:
    shown = typed(*words)
    assert shown.exit_code == 0 and shown.stdout.startswith("Usage: fin board [OPTIONS] RESULTS...")
    for word in ("--baseline", "--no-published", "fin board export", "fin board card"):
        assert word in shown.stdout


@pytest.mark.parametrize("verb", ["export", "card"])
def test_verbs_have_help(verb: str) -> None:
    shown = typed(verb, "--help")
    assert shown.exit_code == 0 and shown.stdout.startswith(f"Usage: fin board {verb} [OPTIONS]")


def test_a_board(results: Path, tmp_path: Path) -> None:
    done = typed("--out", tmp_path / "out", results)
    assert done.exit_code == 0
    assert all(line.startswith("fin board: ") for line in done.stderr.splitlines())  # on a slow machine: what it does
    assert {file.name for file in (tmp_path / "out").iterdir()} == FILES
    first, *others = done.stdout.splitlines()
    assert first == "read: 3 models, 6 columns, 18 results, 28 published rows"
    assert others[-1].startswith(f"{tmp_path / 'out' / 'index.html'}: the page")
    places = others[
        others.index("seen data sets, label likelihood: place and its interval, mean weighted F1 in %") + 1 :
    ]
    assert {line.split()[-1] for line in places[:3]} == {"model-000", "model-001", "model-002"}


def test_forgetting_json_and_no_papers(results: Path, tmp_path: Path) -> None:
    words = ["--baseline", "model-000", "--reference", "model-001", "--unseen", "fin_fomc", "--json", "--no-published"]
    done = typed(results, "--out", tmp_path, *words)
    said = json.loads(done.stdout)
    assert done.exit_code == 0 and said["published"] == 0 and said["problems"] == []
    assert {Path(file).name for file in said["files"]} == FILES
    assert [column["key"] for column in said["columns"]][-1] == "fin_argument_gen"
    written = json.loads((tmp_path / "board.json").read_text())
    told = [one for one in written["forgetting"] if one["protocol"] == "choice"]
    assert {one["model"] for one in told} == {"model-001", "model-002"}
    assert all(one["baseline"] == "model-000" and list(one["unseen"]) == ["fin_fomc"] for one in told)


def test_figures_that_disagree_are_status_1_and_all_else_is_written(one_wrong: Path, tmp_path: Path) -> None:
    done = typed(one_wrong, "--out", tmp_path / "out")
    assert done.exit_code == 1 and {file.name for file in (tmp_path / "out").iterdir()} == FILES
    assert "read: 3 models, 6 columns, 17 results" in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert "bench__model-000" in line and "acc is" in line and "recomputed" in line
    assert typed("card", "model-001", one_wrong).exit_code == 1


def test_nothing_to_use(tmp_path: Path) -> None:
    (tmp_path / "results_2026-01-01T00-00-00.json").write_text('{"results": ')
    done = typed(tmp_path, "--out", tmp_path / "out")
    assert isinstance(done.exception, FinError) and "no results to show" in str(done.exception)
    assert "results_2026-01-01T00-00-00.json: no JSON" in done.stderr
    assert not (tmp_path / "out").exists()


def test_what_is_misspelt_is_said_before_anything_is_written(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = message(results, "--out", out, "--baseline", "modell-000")
    assert said.startswith(
        "--baseline modell-000: no such model (did you mean model-000?); there are model-000, model-0"
    )
    assert "did you mean fin_fomc?" in message(results, "--out", out, "--unseen", "fin_fmoc")
    assert "did you mean model-001?" in message("card", "model-01", results)
    assert "no model of that path or name was read" in message(results, "--out", out, "--name", "nobody=x")
    misspelt = typed("exprot", results, "--out", out)
    assert misspelt.exit_code == 2 and "did you mean export?" in misspelt.stderr
    (tmp_path / "file").touch()
    assert "file: is a file: name a folder" in message(results, "--out", tmp_path / "file")
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
def test_what_cannot_be_meant_is_status_2(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert typed(*words).exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_names(results: Path, tmp_path: Path) -> None:
    words = ["--name", "bench/model-002=the last", "--name", "model-001=next", "--baseline", "the last", "--json"]
    said = json.loads(typed(results, "--out", tmp_path, *words).stdout)
    assert all(set(column["models"]) == {"model-000", "next", "the last"} for column in said["columns"])


def test_texts_are_on_the_page_only_where_asked_for(results: Path, tmp_path: Path) -> None:
    samples = next(results.rglob("samples_fin_argument_gen_*.jsonl")).read_text().splitlines()
    wrong = next(row for row in map(json.loads, samples) if row["acc"] == 0)
    for flags, is_there in (([], False), (["--with-documents"], True)):
        assert typed(results, "--out", tmp_path, *flags).exit_code == 0
        assert (wrong["doc"]["text"] in (tmp_path / "index.html").read_text()) == is_there


def test_the_exported_form_makes_the_same_figures(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = typed("export", results, "--out", "export", "--name", "model-002=last")
    assert done.exit_code == 0 and all(Path(line).is_file() for line in done.stdout.splitlines())
    assert len(done.stdout.splitlines()) == 3 * 7
    # A folder of a verb's name is reached by its path.
    assert typed("./export", "--out", "again").exit_code == 0
    assert typed(results, "--out", "first", "--name", "model-002=last").exit_code == 0
    again, first = (_figures(tmp_path / name / "board.json") for name in ("again", "first"))
    assert again == first and len(first) == 18


def _figures(file: Path) -> dict[tuple[str, str], Any]:
    return {(cell["column"], cell["model"]): cell["figures"] for cell in json.loads(file.read_text())["cells"]}


def test_a_card(results: Path) -> None:
    done = typed("card", "model-001", results, "--benchmark", "someone/finance")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("---\nmodel-index:\n- name: model-001\n") and "id: someone/finance" in done.stdout
    assert done.stdout.endswith("```\n")
