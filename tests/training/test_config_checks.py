"""`fin train`, its `--dry-run` and `fin task check` refuse the same tasks with the same messages."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fin_plugins.checks.runner import CheckOptions, NamedPath, check_files
from fin_plugins.common.errors import FinError
from fin_plugins.common.yaml_file import Problems
from fin_plugins.training.train_command import command
from fin_plugins.training.train_config import TrainConfig
from fin_plugins.training.training_data import load_training_data

TASK = """\
task: {name}
custom_dataset: !function fin_plugins.tasks.own.load
output_type: multiple_choice
training_split: train
test_split: test
dataset_kwargs: {{file: {file}, columns: {{text: text, label: label}}, labels: [up, down], {splits}}}
doc_to_text: "{{{{text}}}}"
doc_to_choice: choices
doc_to_target: gold
gen_prefix: "label:"
metadata: {{version: 1.0, fin: {{seen: {seen}}}}}
"""
CASES = {
    "fin_argument": "marked as unseen.*allow_unseen: true",
    "fin_unseen": "marked as unseen.*allow_unseen: true",
    "fin_deal": "fin_deal has no train rows",
    "fin_fomc_gen": "not a multiple-choice task.*train on fin_fomc",
    "hidden.yaml": "marked as unseen",
    "none.yaml": "has no train rows",
    "gone.yaml": r"gone\.csv: no such file",
    "family.yaml": "family_member: marked as unseen",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [f"{word} {number},{word}" for number in range(20) for word in ("up", "down")]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    split = [f"{word} {number},{word},test" for number in range(20) for word in ("up", "down")]
    (tmp_path / "test.csv").write_text("\n".join(["text,label,part", *split]) + "\n")
    third = "splits: {test: 0.3, validation: 0.2}"
    for name, file, splits, seen in (
        ("hidden", "rows.csv", third, "false"),
        ("family_member", "rows.csv", third, "false"),
        ("none", "test.csv", "split_column: part", "true"),
        ("gone", "gone.csv", third, "true"),
        ("good", "rows.csv", third, "true"),
    ):
        (tmp_path / f"{name}.yaml").write_text(TASK.format(name=name, file=file, splits=splits, seen=seen))
    (tmp_path / "family.yaml").write_text("group: family\ntask: [family_member]\n")
    return tmp_path


def write(task: str) -> Path:
    file = Path("train.yaml")
    file.write_text(f"model: demo\nlearning_rate: 1.0e-4\ntasks:\n  - good.yaml\n  - {task}\n")
    return file


def checked(file: Path, *, rows: bool = True) -> list[str]:
    return [
        str(finding) for finding in check_files([NamedPath(file, str(file))], CheckOptions(read_rows=rows)).findings
    ]


@pytest.mark.parametrize(("task", "message"), CASES.items())
@pytest.mark.usefixtures("folder", "sample_data")
def test_all_three_refuse_the_same(task: str, message: str, tiny_models: dict[str, Path]) -> None:
    file = write(task)
    with pytest.raises(Problems, match=message) as dry:
        CliRunner().invoke(command, [str(file), "--dry-run"], catch_exceptions=False)
    assert str(dry.value).splitlines()[-1].startswith("train.yaml:5:5 tasks.1: ")
    found = checked(file)
    assert found and all(line.startswith("train.yaml:5:5 tasks.1: ") and line.endswith("[R03]") for line in found)
    with pytest.raises(Problems) as refused:
        CliRunner().invoke(command, [str(file)], catch_exceptions=False)
    assert str(refused.value) == str(dry.value)
    config = TrainConfig.model_validate({"model": "tiny", "tasks": [task]})
    with pytest.raises(FinError):
        load_training_data(config, str(tiny_models["base"]))


@pytest.mark.usefixtures("folder")
def test_data_that_is_not_fetched_is_said_before_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FIN_DATA", "real")
    monkeypatch.setenv("FIN_DATA_DIR", str(tmp_path / "empty"))
    file = write("fin_fomc")
    with pytest.raises(Problems, match=r"train.yaml:5:5 tasks.1: fin_fomc: .*fin data fetch fin_fomc"):
        CliRunner().invoke(command, [str(file), "--dry-run"], catch_exceptions=False)
    assert "fin data fetch fin_fomc" in "".join(checked(file))
    assert checked(file, rows=False) == []


@pytest.mark.usefixtures("folder", "sample_data")
def test_what_can_be_trained_on_is_found_good() -> None:
    file = write("fin_seen")
    assert checked(file) == []
    printed = CliRunner().invoke(command, [str(file), "--dry-run", "--json"], catch_exceptions=False).output
    assert json.loads(printed)["tasks"][1]["task"] == "fin_seen"
    file.write_text("model: demo\ntasks: [fin_argument, hidden.yaml]\nallow_unseen: true\n")
    assert checked(file) == []


@pytest.mark.usefixtures("folder", "sample_data")
def test_every_task_is_reported_with_the_other_problems() -> None:
    Path("train.yaml").write_text("model: demo\ntasks: [fin_deal, hidden.yaml, none.yaml]\nlerning_rate: 1\n")
    found = checked(Path("train.yaml"))
    assert [line.split()[1] for line in found] == ["tasks.0:", "tasks.0:", "tasks.1:", "tasks.2:", "lerning_rate:"]


@pytest.mark.usefixtures("folder")
def test_checking_runs_nothing_and_ends() -> None:
    Path("evil.yaml").write_text("include: evil.yaml\ntask: evil\ncustom_dataset: !function nothing.there\n")
    Path("circle.yaml").write_text("group: circle\ntask: [circle, evil]\n")
    for name in ("evil.yaml", "circle.yaml"):
        assert all("[R03]" in line for line in checked(write(name)))
