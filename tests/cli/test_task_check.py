"""`fin task check` on the command line."""

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fin_plugins.checks.findings import all_rules
from fin_plugins.cli.main import fin

FAULTS = Path(__file__).parents[1] / "checks" / "faults"


def run_check(*arguments: str) -> Result:
    return CliRunner().invoke(fin, ["task", "check", *arguments])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("news.csv", "c01_licence.yaml", "l03_prefix.yaml"):
        shutil.copy(FAULTS / name, tmp_path)
    (tmp_path / "right.yaml").write_text("task: right_one\n" + (FAULTS / "_good").read_text())
    return tmp_path


def test_text_and_exit_status() -> None:
    result = run_check("--no-rows")
    *lines, last = result.stdout.splitlines()
    assert result.exit_code == 1 and last == "2 problems in 2 of 3 files"
    assert lines[0].startswith("c01_licence.yaml:26:5 metadata.fin.licence: `TODO`")
    assert lines[1].startswith("l03_prefix.yaml:6:23 dataset_kwargs.labels.2: `good news`")
    assert lines[0].endswith("[C01]") and lines[1].endswith("[L03]")
    right = run_check("right.yaml", "--no-rows")
    assert (right.exit_code, right.stdout, right.stderr) == (0, "1 file, no problem\n", "")


def test_rows_are_checked_unless_switched_off(folder: Path) -> None:
    (folder / "news.csv").write_text("text,label\n" + '"an invented line",fine\n' * 40)
    assert run_check("right.yaml", "--no-rows").exit_code == 0
    assert {line[-4:-1] for line in run_check("right.yaml").stdout.splitlines()[:-1]} >= {"D03"}


def test_json(folder: Path) -> None:
    result = run_check(".", "--no-rows", "--format", "json")
    data = json.loads(result.stdout)
    assert result.exit_code == 1 and (data["files"], data["notes"]) == (3, [])
    assert [(finding["file"], finding["line"], finding["code"]) for finding in data["findings"]] == [
        ("c01_licence.yaml", 26, "C01"),
        ("l03_prefix.yaml", 6, "L03"),
    ]
    assert data["findings"][0]["title"] == all_rules()["C01"].title
    (folder / "compose.yaml").write_text("services: {}\n")
    assert json.loads(run_check("--no-rows", "--format", "json").stdout)["notes"]


def test_github(folder: Path) -> None:
    shutil.copy(folder / "l03_prefix.yaml", folder / "50%, a:b.yaml")
    line = run_check("50%, a:b.yaml", "--no-rows", "--format", "github").stdout.splitlines()[0]
    assert line.startswith("::error file=50%25%2C a%3Ab.yaml,line=6,col=23,title=L03::dataset_kwargs.labels.2: ")
    assert run_check("right.yaml", "--no-rows", "--format", "github").stdout == ""


def test_ignore() -> None:
    assert run_check("--no-rows", "--ignore", "l03", "--ignore", "C01").exit_code == 0
    assert run_check("--no-rows", "--ignore", "L03").stdout.count("\n") == 2
    result = run_check("--ignore", "L3")
    assert result.exit_code == 2 and result.stderr.startswith("fin: error: L3: ") and "L03?" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["gone.yaml"], "gone.yaml: "),
        (["--explain", "Z99"], "Z99: "),
        (["--format", "xml"], "xml"),
        (["--context", "0"], "0"),
    ],
)
def test_what_cannot_be_checked_is_status_2(arguments: list[str], part: str) -> None:
    result = run_check(*arguments)
    assert result.exit_code == 2 and part in result.stderr and result.stdout == ""


def test_a_folder_without_yaml_is_status_2(folder: Path) -> None:
    (folder / "empty").mkdir()
    assert run_check("empty").exit_code == 2


def test_rules_are_listed_and_explained() -> None:
    lines = run_check("--list-rules").stdout.splitlines()
    assert [line[:3] for line in lines] == list(all_rules())
    assert all(re.fullmatch(r"[A-Z]\d\d  [^ ].*[^.]", line) for line in lines)
    explanation = run_check("--explain", "l03")
    assert explanation.exit_code == 0 and explanation.stdout.startswith(f"L03  {all_rules()['L03'].title}\n\n")
    assert {rule["code"] for rule in json.loads(run_check("--list-rules", "--format", "json").stdout)} == set(
        all_rules()
    )


def test_every_rule_is_explained() -> None:
    assert len(all_rules()) >= 80
    for rule in all_rules().values():
        assert len(rule.why) > 30 and rule.why.rstrip()[-1] in '."`)', rule


def test_an_unused_suppression_is_reported_only_if_its_rule_was_checked(folder: Path) -> None:
    text = (folder / "right.yaml").read_text()
    (folder / "right.yaml").write_text("# fin: ignore D03 T02\n" + text)
    assert run_check("right.yaml", "--no-rows").exit_code == 0
    assert "I01" in run_check("right.yaml").stdout and "T02" not in run_check("right.yaml").stdout
