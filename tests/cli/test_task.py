"""`fin task list` and `fin task show` on the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.catalogue.task_fixtures import write_mood_tasks

from fin_plugins.cli.main import fin
from fin_plugins.common.errors import FinError
from fin_plugins.data.data_cards import bundled_card
from fin_plugins.data.sources import datasets
from fin_plugins.stats.metrics import majority_floor


def run_list(*arguments: str) -> Result:
    return CliRunner().invoke(fin, ["task", "list", *arguments], catch_exceptions=False)


def listed(*arguments: str) -> dict[str, dict]:
    return {task["name"]: task for task in json.loads(run_list(*arguments, "--json").stdout)}


def run_show(*arguments: str | Path) -> Result:
    return CliRunner().invoke(fin, ["task", "show", *map(str, arguments)])


def shown(*arguments: str | Path) -> dict:
    result = run_show(*arguments, "--json")
    assert result.exception is None, result.output
    return json.loads(result.stdout)


def show_error(*arguments: str | Path) -> str:
    error = run_show(*arguments).exception
    assert isinstance(error, FinError), error
    return str(error)


@pytest.fixture
def no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty data folder and an empty working directory."""
    monkeypatch.setenv("FIN_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("FIN_DATA", raising=False)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")


@pytest.fixture
def mood_task(tmp_path: Path) -> Path:
    return write_mood_tasks(tmp_path)


@pytest.mark.usefixtures("no_data")
def test_every_bundled_task_matches_its_data_card() -> None:
    tasks = listed()
    assert {task.removesuffix("_gen") for task in tasks} == {dataset.task for dataset in datasets().values()}
    for name, task in tasks.items():
        card = bundled_card(name.removesuffix("_gen"))
        assert task["rows"] == {split: fields["rows"] for split, fields in card["splits"].items()}
        assert set(task["labels"]) == set(card["labels"]) and task["seen"] is card["seen"]
        assert task["licence"] and task["source"].startswith("https://") and task["data"] == "not fetched"
        assert task["protocol"] == ("gen" if name.endswith("_gen") else "choice")


@pytest.mark.usefixtures("no_data")
def test_a_line_has_side_size_licence_and_groups() -> None:
    lines = run_list().stdout.splitlines()
    number = next(number for number, line in enumerate(lines) if line.startswith("fin_fomc "))
    words = " ".join(lines[number].split())
    assert words == "fin_fomc choice seen 3 labels train 1,761 test 496 not fetched"
    assert lines[number + 1].strip() == (
        "licence: CC BY-NC 4.0 · https://github.com/gtfintechlab/fomc-hawkish-dovish · in fin, fin_seen"
    )


@pytest.mark.usefixtures("no_data")
def test_sample_rows_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIN_DATA", "sample")
    task = listed()["fin_deal"]
    assert task["data"] == "sample rows" and task["rows"] == {"fewshot": 24, "validation": 12, "test": 24}


@pytest.mark.usefixtures("no_data")
def test_custom_tasks_are_listed(tmp_path: Path) -> None:
    write_mood_tasks(tmp_path / "mine")
    task = listed("--include_path", str(tmp_path / "mine"))["moods"]
    # A train row that is in a held-out split too is not counted: the loader leaves it out.
    assert task["rows"] == {"train": 2, "validation": 1, "test": 3} and task["data"] == "here"
    assert (task["labels"], task["seen"], task["groups"]) == (["glad", "sad"], False, ["moody", "short"])
    (tmp_path / "mine" / "rows.csv").unlink()
    task = listed("--include_path", str(tmp_path / "mine"))["moods"]
    assert task["rows"] == {} and "rows.csv: no such file" in task["data"]


@pytest.mark.usefixtures("no_data")
def test_invalid_keys_do_not_hide_the_task(tmp_path: Path) -> None:
    file = write_mood_tasks(tmp_path / "mine")
    file.write_text(file.read_text().replace("split_column", "split_colum"))
    task = listed("--include_path", str(tmp_path / "mine"))["moods"]
    assert task["rows"] == {} and "fin task check" in task["data"]


@pytest.mark.usefixtures("no_data")
def test_broken_files_are_reported_on_stderr(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "broken.yaml").write_text("task: [\n")
    result = run_list("--include_path", str(tmp_path / "mine"), "--json")
    assert result.exit_code == 0 and "broken.yaml:2:1" in result.stderr and json.loads(result.stdout)


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys\nfrom fin_plugins.cli.main import fin\n"
        "fin(['task', 'list'], standalone_mode=False)\n"
        "print({'lm_eval', 'datasets', 'transformers', 'torch'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "set()"


@pytest.mark.usefixtures("sample_data")
def test_a_bundled_task(demo_model_path: Path) -> None:
    text = run_show("fin_fomc", "--model", demo_model_path).stdout
    for part in (
        "fin_fomc · Stance of a sentence",
        "licence   CC BY-NC 4.0",
        "source    https://github.com/gtfintechlab/",
        "citation  Shah, Paturi, Chava (2023)",
        "side      seen",
        "sample rows",
        "accuracy 33.3%, weighted F1 16.7%, macro F1 16.7%",
        demo_model_path.name,
        "' hawkish', ' dovish', ' neutral'",
    ):
        assert part in text
    assert text.count("<|im_start|>assistant\nlabel:\n") == 1 and text.count("\nlabel:\n") == 2


@pytest.mark.usefixtures("sample_data")
def test_the_prompt_is_that_of_an_evaluation(demo_model_path: Path) -> None:
    from fin_plugins.evaluation.prompt_lm import PromptLM
    from fin_plugins.tasks.task_requests import build_requests

    lm = PromptLM("hf", {"pretrained": str(demo_model_path)})
    requests = [request for request in build_requests(lm, "fin_argument", 4) if request.doc_id == 3]
    prompt = shown("fin_argument", "--row", "3", "--model", demo_model_path)["prompt"]
    assert prompt["chat"]["text"] == requests[0].args[0]
    assert prompt["chat"]["answers"] == [request.args[1] for request in requests]
    assert (prompt["id"], prompt["label"]) == (requests[0].doc["id"], requests[0].doc["label"])


@pytest.mark.usefixtures("sample_data")
def test_a_generative_task_has_no_answers_to_compare(demo_model_path: Path) -> None:
    card = shown("fin_deal_gen", "--split", "fewshot", "--row", "5", "--model", demo_model_path)
    assert card["protocol"] == "gen" and card["prompt"]["plain"]["answers"] == []
    assert card["prompt"]["id"] == "sample-deal-fewshot-005" and card["fewshot_split"] == "fewshot"
    choice = shown("fin_deal", "--split", "fewshot", "--row", "5", "--model", demo_model_path)
    assert choice["prompt"]["chat"]["text"] == card["prompt"]["chat"]["text"]
    assert choice["file_sha256"] != card["file_sha256"]


def test_a_custom_task(mood_task: Path, tiny_models: dict[str, Path]) -> None:
    card = shown(mood_task, "--model", tiny_models["phi3"])
    assert card["about"] == "Moods of short notes. Made for a test." and card["groups"] == ["moody", "short"]
    assert {name: split["labels"] for name, split in card["splits"].items()} == {
        "train": {"glad": 1, "sad": 1},
        "validation": {"glad": 0, "sad": 1},
        "test": {"glad": 1, "sad": 2},
    }
    floor = majority_floor([0, 1, 1], 2)
    assert card["floor"]["label"] == "sad"
    assert (card["floor"]["acc"], card["floor"]["macro_f1"]) == (floor.acc, floor.macro_f1)
    assert card["left_out"] == {"no_text": 0, "in_held_out_split": 1}
    assert card["prompt"]["plain"]["text"].startswith("Glad or sad?\nNote: ")
    assert card["prompt"]["chat"]["text"].endswith("<|end|>\n<|assistant|>\nmood:")
    assert all(len(split["sha256"]) == 64 for split in card["splits"].values())


def test_comments_do_not_change_the_hash_and_keys_do(mood_task: Path) -> None:
    before = shown(mood_task)["file_sha256"]
    mood_task.write_text("# Another word.\n" + mood_task.read_text())
    assert shown(mood_task)["file_sha256"] == before
    mood_task.write_text(mood_task.read_text().replace("Glad or sad?", "Sad or glad?"))
    assert shown(mood_task)["file_sha256"] != before


def test_a_missing_chat_template_is_mentioned(
    mood_task: Path, tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        f"in no chat template ({tiny_models['base']} has none)"
        in run_show(mood_task, "--model", tiny_models["base"]).stdout
    )
    monkeypatch.setenv("FIN_MODEL_DIR", str(tmp_path / "none"))
    assert "--model" in run_show(mood_task).stdout


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--row", "3"], "--row 3"),
        (["--split", "tset"], "tset"),
        (["--model", "no/such-model"], "no/such-model"),
    ],
)
def test_what_cannot_be_shown_is_an_error(words: list[str], part: str, mood_task: Path) -> None:
    assert part in show_error(mood_task, *words)


@pytest.mark.parametrize(
    ("right", "wrong", "part"),
    [
        ("mood}", "moood}", "mood?"),
        ("test_split:", "tset_split:", "moods"),
        ("tasks.results.score_choice", "tasks.results.scorechoice", "moods"),
        ("{{text}}", "{{text", "moods"),
    ],
)
def test_an_invalid_file_is_a_one_line_error(right: str, wrong: str, part: str, mood_task: Path) -> None:
    assert right in mood_task.read_text()
    mood_task.write_text(mood_task.read_text().replace(right, wrong))
    assert part in show_error(mood_task)
    assert "\n" not in show_error(mood_task)


def test_data_that_is_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIN_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("FIN_DATA", raising=False)
    assert "fin data fetch fin_fomc" in show_error("fin_fomc")


def test_a_template_that_fails_over_one_row(mood_task: Path) -> None:
    mood_task.write_text(
        mood_task.read_text().replace("{{text}}", "{{ text[1 / (id | length - id | length)] if 'tea' in text }}")
    )
    rows = [run_show(mood_task, "--row", str(row)) for row in range(3)]
    errors = [str(row.exception) for row in rows if row.exception]
    assert errors and all("moods" in error and "division by zero" in error for error in errors)


def test_no_progress_bar_and_no_change_of_the_environment(mood_task: Path) -> None:
    before = dict(os.environ)
    assert "it/s" not in run_show(mood_task).stderr
    assert dict(os.environ) == before
