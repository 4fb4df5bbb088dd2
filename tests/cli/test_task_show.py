"""`fin task show` as typed."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.catalogue.making import moods

from fin_plugins.cli.main import fin
from fin_plugins.common.errors import FinError
from fin_plugins.stats.metrics import majority_floor


def typed(*words: str | Path) -> Result:
    return CliRunner().invoke(fin, ["task", "show", *map(str, words)])


def shown(*words: str | Path) -> dict:
    done = typed(*words, "--json")
    assert done.exception is None, done.output
    return json.loads(done.stdout)


def message(*words: str | Path) -> str:
    error = typed(*words).exception
    assert isinstance(error, FinError), error
    return str(error)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return moods(tmp_path)


@pytest.mark.usefixtures("sample_data")
def test_a_shipped_task(demo_model_path: Path) -> None:
    text = typed("fin_fomc", "--model", demo_model_path).stdout
    for part in (
        "fin_fomc · Stance of a sentence",
        "licence   CC BY-NC 4.0",
        "source    https://github.com/gtfintechlab/",
        "citation  Shah, Paturi, Chava (2023)",
        "side      seen",
        "embedded sample rows",
        "examples come from the split train",
        "always answering hawkish on the test rows: accuracy 33.3%, weighted F1 16.7%, macro F1 16.7%",
        f"in the chat template of {demo_model_path.name}:",
        "answers compared: ' hawkish', ' dovish', ' neutral'",
    ):
        assert part in text
    assert text.count("<|im_start|>assistant\nlabel:\n") == 1 and text.count("\nlabel:\n") == 2


@pytest.mark.usefixtures("sample_data")
def test_prompt_is_what_an_evaluation_asks(demo_model_path: Path) -> None:
    from fin_plugins.evaluation.prompts import PromptLM
    from fin_plugins.tasks.requests import requests_of

    lm = PromptLM("hf", {"pretrained": str(demo_model_path)})
    asked = [one for one in requests_of(lm, "fin_argument", 4) if one.doc_id == 3]
    prompt = shown("fin_argument", "--row", "3", "--model", demo_model_path)["prompt"]
    assert prompt["chat"]["text"] == asked[0].args[0]
    assert prompt["chat"]["answers"] == [one.args[1] for one in asked]
    assert (prompt["id"], prompt["label"]) == (asked[0].doc["id"], asked[0].doc["label"])


@pytest.mark.usefixtures("sample_data")
def test_a_free_answer_has_no_answers_to_compare(demo_model_path: Path) -> None:
    card = shown("fin_deal_gen", "--split", "fewshot", "--row", "5", "--model", demo_model_path)
    assert card["protocol"] == "gen" and card["prompt"]["plain"]["answers"] == []
    assert card["prompt"]["id"] == "sample-deal-fewshot-005" and card["fewshot_split"] == "fewshot"
    choice = shown("fin_deal", "--split", "fewshot", "--row", "5", "--model", demo_model_path)
    assert choice["prompt"]["chat"]["text"] == card["prompt"]["chat"]["text"]
    assert choice["file_sha256"] != card["file_sha256"]


def test_a_task_of_ones_own(mine: Path, tiny_models: dict[str, Path]) -> None:
    card = shown(mine, "--model", tiny_models["phi3"])
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


def test_comments_do_not_change_the_hash_and_keys_do(mine: Path) -> None:
    before = shown(mine)["file_sha256"]
    mine.write_text("# Another word.\n" + mine.read_text())
    assert shown(mine)["file_sha256"] == before
    mine.write_text(mine.read_text().replace("Glad or sad?", "Sad or glad?"))
    assert shown(mine)["file_sha256"] != before


def test_without_a_chat_template_it_says_so(
    mine: Path, tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"in no chat template ({tiny_models['base']} has none)" in typed(mine, "--model", tiny_models["base"]).stdout
    monkeypatch.setenv("FIN_MODEL_DIR", str(tmp_path / "none"))
    assert "in no chat template (name a model with --model)" in typed(mine).stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--row", "3"], "moods: --row 3: test has 3 rows, counted from 0"),
        (["--split", "tset"], "moods: no split tset; there are train, "),
        (["--model", "no/such-model"], "--model no/such-model: its tokenizer cannot be loaded"),
    ],
)
def test_what_cannot_be_shown(words: list[str], said: str, mine: Path) -> None:
    assert said in message(mine, *words)


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("mood}", "moood}", "no column 'moood' (did you mean mood?)"),
        ("test_split:", "tset_split:", "lm-eval cannot make a task of it"),
        ("tasks.results.score_choice", "tasks.results.scorechoice", "lm-eval cannot make a task of it"),
        ("{{text}}", "{{text", "lm-eval cannot make a task of it"),
    ],
)
def test_a_wrong_file_is_one_line(right: str, wrong: str, said: str, mine: Path) -> None:
    assert right in mine.read_text()
    mine.write_text(mine.read_text().replace(right, wrong))
    assert said in message(mine)
    assert "\n" not in message(mine)


def test_data_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIN_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("FIN_DATA", raising=False)
    assert "fin data fetch fin_fomc" in message("fin_fomc")


def test_a_template_that_fails_over_one_row(mine: Path) -> None:
    mine.write_text(
        mine.read_text().replace("{{text}}", "{{ text[1 / (id | length - id | length)] if 'tea' in text }}")
    )
    rows = [typed(mine, "--row", str(row)) for row in range(3)]
    errors = [str(done.exception) for done in rows if done.exception]
    assert errors and all("moods" in error and "division by zero" in error for error in errors)


def test_no_bar_and_nothing_left_in_the_environment(mine: Path) -> None:
    before = dict(os.environ)
    assert "it/s" not in typed(mine).stderr
    assert dict(os.environ) == before
