"""`fin task list` as typed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.catalogue.making import moods

from fin_plugins.cli.main import fin
from fin_plugins.data.published import committed
from fin_plugins.data.sources import datasets


def typed(*words: str) -> Result:
    return CliRunner().invoke(fin, ["task", "list", *words], catch_exceptions=False)


@pytest.fixture(autouse=True)
def empty_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIN_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("FIN_DATA", raising=False)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")


def listed(*words: str) -> dict[str, dict]:
    return {task["name"]: task for task in json.loads(typed(*words, "--json").stdout)}


def test_every_shipped_task_with_what_the_data_cards_say() -> None:
    found = listed()
    assert {task.removesuffix("_gen") for task in found} == {dataset.task for dataset in datasets().values()}
    for name, task in found.items():
        card = committed(name.removesuffix("_gen"))
        assert task["rows"] == {split: fields["rows"] for split, fields in card["splits"].items()}
        assert set(task["labels"]) == set(card["labels"]) and task["seen"] is card["seen"]
        assert task["licence"] and task["source"].startswith("https://") and task["data"] == "not fetched"
        assert task["protocol"] == ("gen" if name.endswith("_gen") else "choice")


def test_a_line_has_side_size_licence_and_groups() -> None:
    lines = typed().stdout.splitlines()
    number = next(number for number, line in enumerate(lines) if line.startswith("fin_fomc "))
    words = " ".join(lines[number].split())
    assert words == "fin_fomc choice seen 3 labels train 1,761 test 496 not fetched"
    assert lines[number + 1].strip() == (
        "licence: CC BY-NC 4.0 · https://github.com/gtfintechlab/fomc-hawkish-dovish · in fin, fin_seen"
    )


def test_sample_rows_are_counted_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIN_DATA", "sample")
    task = listed()["fin_deal"]
    assert task["data"] == "sample rows" and task["rows"] == {"fewshot": 24, "validation": 12, "test": 24}


def test_own_tasks(tmp_path: Path) -> None:
    moods(tmp_path / "mine")
    task = listed("--include_path", str(tmp_path / "mine"))["moods"]
    # A train row that a held-out split has too is not counted: the loader leaves it out.
    assert task["rows"] == {"train": 2, "validation": 1, "test": 3} and task["data"] == "here"
    assert (task["labels"], task["seen"], task["groups"]) == (["glad", "sad"], False, ["moody", "short"])
    (tmp_path / "mine" / "rows.csv").unlink()
    task = listed("--include_path", str(tmp_path / "mine"))["moods"]
    assert task["rows"] == {} and "rows.csv: no such file" in task["data"]


def test_keys_that_are_wrong_do_not_hide_the_task(tmp_path: Path) -> None:
    file = moods(tmp_path / "mine")
    file.write_text(file.read_text().replace("split_column", "split_colum"))
    task = listed("--include_path", str(tmp_path / "mine"))["moods"]
    assert task["rows"] == {} and "fin task check" in task["data"]


def test_broken_files_are_told_on_stderr(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "broken.yaml").write_text("task: [\n")
    done = typed("--include_path", str(tmp_path / "mine"), "--json")
    assert done.exit_code == 0 and "broken.yaml:2:1" in done.stderr and json.loads(done.stdout)


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys\nfrom fin_plugins.cli.main import fin\n"
        "fin(['task', 'list'], standalone_mode=False)\n"
        "print({'lm_eval', 'datasets', 'transformers', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
