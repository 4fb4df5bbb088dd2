"""`fin task new` on the command line: all options, questions, mistakes; the files that it writes load in lm-eval."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fin_plugins.cli.main import fin
from fin_plugins.common.errors import FinError

TEXTS = [f"Shop {number} {'sold more' if number % 2 else 'closed'}" for number in range(40)]
ROWS = "day,headline,mood\n" + "".join(f"{n},{text},{n % 2}\n" for n, text in enumerate(TEXTS))
NAMED = ["--text", "headline", "--label", "mood"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with rows; the check for taken names is off."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fin_plugins.authoring.task_files.find_name_owner", lambda name: None)
    (tmp_path / "rows.csv").write_text(ROWS)
    return tmp_path


def run_new(*arguments: str, answers: str | None = None) -> Result:
    return CliRunner().invoke(fin, ["task", "new", "mine", *arguments], input=answers)


def error_message(*arguments: str) -> str:
    error = run_new(*arguments).exception
    assert isinstance(error, FinError), error
    assert "\n" not in str(error)
    return str(error)


def task(name: str = "mine", folder: str = ".") -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager(include_defaults=False, include_path=folder).load([name])["tasks"][name]


def test_options_answer_everything(folder: Path) -> None:
    result = run_new(
        "--data", "rows.csv", *NAMED, "--alias", "0=bad", "--alias", "1=good", "--seen", "--licence", "CC0-1.0"
    )
    assert result.exit_code == 0
    for line in (
        "40 rows: text in headline, label in mood",
        "labels: bad 20, good 20",
        "splits: train ",
    ):
        assert line in result.output
    assert "fin eval --tasks mine,mine_gen --include_path . --model fin_hf" in result.output
    choice, reply = task(), task("mine_gen")
    assert choice.config.metadata["fin"]["seen"] is True
    assert choice.config.dataset_kwargs["labels"] == {"0": "bad", "1": "good"}
    document = choice.dataset["test"][0]
    assert choice.doc_to_text(document).startswith("Classify the following text as bad or good.")
    assert choice.doc_to_text(document) == reply.doc_to_text(document)
    assert reply.doc_to_target(document) == document["choices"][document["gold"]] == document["label"]
    assert 20 <= (folder / "mine.yaml").read_text().count("\n") <= 32
    assert str(folder) not in (folder / "mine.yaml").read_text()


def test_the_same_again_writes_the_same(folder: Path) -> None:
    assert "note: " in run_new("--data", "rows.csv", *NAMED).output
    first = (folder / "mine.yaml").read_bytes()
    assert run_new("--data", "rows.csv", *NAMED, "--force").exit_code == 0
    assert (folder / "mine.yaml").read_bytes() == first


def test_without_a_terminal_missing_options_are_named(folder: Path) -> None:
    message = error_message("--data", "rows.csv", "--text", "headline")
    assert "--label mood" in message and "--yes" in message and "day, headline, mood" in message
    assert "--text headline --label mood" in error_message("--data", "rows.csv", "--no-input")
    assert sorted(path.name for path in folder.iterdir()) == ["rows.csv"]
    assert run_new("--data", "rows.csv", "--yes").exit_code == 0


def test_on_a_terminal_it_asks(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr("fin_plugins.cli.task_new.on_a_terminal", lambda: True)
    result = run_new("--data", "rows.csv", answers="\nmood\ny\n\nCC0-1.0\n")
    assert result.exit_code == 0, result.output
    assert "(day, headline, mood) [headline]:" in result.output
    fin_entry = task().config.metadata["fin"]
    assert (fin_entry["seen"], fin_entry["source"], fin_entry["licence"]) == (True, "rows.csv", "CC0-1.0")
    again = run_new("--data", "rows.csv", *NAMED, answers="n\n")
    assert again.exit_code == 1 and "Overwrite mine.yaml, mine_gen.yaml?" in again.output


def test_it_does_not_overwrite_unasked(folder: Path) -> None:
    (folder / "mine_gen.yaml").write_text("mine\n")
    assert "mine_gen.yaml: exists already: --force" in error_message("--data", "rows.csv", *NAMED)
    assert (folder / "mine_gen.yaml").read_text() == "mine\n" and not (folder / "mine.yaml").exists()


def test_as_json_and_elsewhere(folder: Path) -> None:
    result = run_new("--data", "rows.csv", *NAMED, "--out", "a b", "--json", "--validation", "0", "--test", "0.5")
    data = json.loads(result.stdout)
    assert set(data["splits"]) == {"train", "test"} and sum(data["splits"].values()) == 40
    assert 10 <= data["splits"]["test"] <= 30 and data["files"] == ["a b/mine.yaml", "a b/mine_gen.yaml"]
    assert "--include_path 'a b'" in data["next"]["score a model"]
    assert task(folder="a b").config.dataset_kwargs["file"] == "../rows.csv"


def test_several_files_and_splits_in_a_column(folder: Path) -> None:
    (folder / "test.csv").write_text("headline,mood\nnew,0\nSHOP 0 closed,1\n")
    result = run_new("--data", "train=rows.csv", "--data", "test=test.csv", *NAMED)
    assert "splits: train 39, test 2" in result.output
    assert result.output.count("note: 1 ") >= 2  # a row of train is in test too, and has another label there
    assert task().config.validation_split is None
    lines = ROWS.splitlines()
    sides = [f"{line},{'dev' if n % 4 == 0 else 'test' if n % 4 == 1 else 'train'}" for n, line in enumerate(lines[1:])]
    (folder / "rows.csv").write_text("\n".join([f"{lines[0]},split", *sides]))
    assert "splits: train 20, validation 10, test 10" in run_new("--data", "rows.csv", *NAMED, "--force").output
    assert task().config.dataset_kwargs["split_column"] == "split"


def test_a_folder_laid_out_like_a_hub_data_set(folder: Path) -> None:
    (folder / "hub").mkdir()
    (folder / "rows.csv").rename(folder / "hub" / "train.csv")
    result = run_new("--data", "hf:./hub", *NAMED)
    assert result.exit_code == 0, result.exception
    assert task().config.dataset_kwargs["hub"] == "./hub"
    assert sum(map(len, task().dataset.values())) == 40


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--data", "row.csv", *NAMED], "row.csv: no such file"),
        (["--data", "rows.csv", "--text", "head", "--label", "mood"], "--text head: "),
        (["--data", "rows.csv", "--text", "headline", "--label", "day", "--labels", "1"], "--labels"),
        (["--data", "rows.csv", "--text", "mood", "--label", "headline"], "too few"),
        (["--data", "rows.csv", *NAMED, "--alias", "2=x"], "--alias 2=…"),
        (["--data", "rows.csv", *NAMED, "--alias", "x"], "LABEL=WORD"),
        (["--data", "rows.csv", *NAMED, "--alias", "0=!!"], "!!"),
        (["--data", "a=rows.csv", "--data", "b=rows.csv"], "--data a=rows.csv: "),
        (["--data", "test=rows.csv", "--data", "test=rows.csv"], "test "),
        (["--data", "rows.csv", *NAMED, "--split-column", "mood"], "validation"),
        (["--data", "rows.csv", *NAMED, "--test", "0.6", "--validation", "0.5"], "train"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(arguments: list[str], part: str, folder: Path) -> None:
    assert part in error_message(*arguments)
    assert sorted(path.name for path in folder.iterdir()) == ["rows.csv"]
