"""`fin task check` as typed."""

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fin_plugins.checks.rules import rules
from fin_plugins.cli.main import fin

FAULTS = Path(__file__).parents[1] / "checks" / "faults"


def typed(*words: str) -> Result:
    return CliRunner().invoke(fin, ["task", "check", *words])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("news.csv", "c01_licence.yaml", "l03_prefix.yaml"):
        shutil.copy(FAULTS / name, tmp_path)
    (tmp_path / "right.yaml").write_text("task: right_one\n" + (FAULTS / "_good").read_text())
    return tmp_path


def test_text_and_exit_status() -> None:
    done = typed("--no-rows")
    *lines, last = done.stdout.splitlines()
    assert done.exit_code == 1 and last == "2 problems in 2 of 3 files"
    assert lines[0].startswith("c01_licence.yaml:26:5 metadata.fin.licence: `TODO` says nothing")
    assert lines[1].startswith("l03_prefix.yaml:6:23 dataset_kwargs.labels.2: `good news` begins with the label `good`")
    assert lines[0].endswith("[C01]") and lines[1].endswith("[L03]")
    right = typed("right.yaml", "--no-rows")
    assert (right.exit_code, right.stdout, right.stderr) == (0, "1 file, no problem\n", "")


def test_rows_are_looked_at_unless_told_not_to(folder: Path) -> None:
    (folder / "news.csv").write_text("text,label\n" + '"an invented line",fine\n' * 40)
    assert typed("right.yaml", "--no-rows").exit_code == 0
    assert {line[-4:-1] for line in typed("right.yaml").stdout.splitlines()[:-1]} >= {"D03"}


def test_json(folder: Path) -> None:
    done = typed(".", "--no-rows", "--format", "json")
    said = json.loads(done.stdout)
    assert done.exit_code == 1 and (said["files"], said["notes"]) == (3, [])
    assert [(one["file"], one["line"], one["code"]) for one in said["findings"]] == [
        ("c01_licence.yaml", 26, "C01"),
        ("l03_prefix.yaml", 6, "L03"),
    ]
    assert said["findings"][0]["title"] == rules()["C01"].title
    (folder / "compose.yaml").write_text("services: {}\n")
    assert json.loads(typed("--no-rows", "--format", "json").stdout)["notes"]


def test_github(folder: Path) -> None:
    shutil.copy(folder / "l03_prefix.yaml", folder / "50%, a:b.yaml")
    line = typed("50%, a:b.yaml", "--no-rows", "--format", "github").stdout.splitlines()[0]
    assert line.startswith("::error file=50%25%2C a%3Ab.yaml,line=6,col=23,title=L03::dataset_kwargs.labels.2: `good")
    assert typed("right.yaml", "--no-rows", "--format", "github").stdout == ""


def test_ignore() -> None:
    assert typed("--no-rows", "--ignore", "l03", "--ignore", "C01").exit_code == 0
    assert typed("--no-rows", "--ignore", "L03").stdout.count("\n") == 2
    done = typed("--ignore", "L3")
    assert done.exit_code == 2 and done.stderr.startswith("fin: error: L3: no such rule (did you mean L03?)")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gone.yaml"], "gone.yaml: no such file or folder"),
        (["--explain", "Z99"], "Z99: no such rule"),
        (["--format", "xml"], "xml"),
        (["--context", "0"], "0"),
    ],
)
def test_what_cannot_be_done_is_status_2(words: list[str], said: str) -> None:
    done = typed(*words)
    assert done.exit_code == 2 and said in done.stderr and done.stdout == ""


def test_no_yaml_is_status_2(folder: Path) -> None:
    (folder / "empty").mkdir()
    assert typed("empty").exit_code == 2


def test_rules_are_listed_and_explained() -> None:
    lines = typed("--list-rules").stdout.splitlines()
    assert [line[:3] for line in lines] == list(rules())
    assert all(re.fullmatch(r"[A-Z]\d\d  [^ ].*[^.]", line) for line in lines)
    said = typed("--explain", "l03")
    assert said.exit_code == 0 and said.stdout.startswith("L03  one label begins another\n\nA label's score")
    assert {one["code"] for one in json.loads(typed("--list-rules", "--format", "json").stdout)} == set(rules())


def test_every_rule_says_why() -> None:
    assert len(rules()) >= 80
    for rule in rules().values():
        assert len(rule.why) > 30 and rule.why.rstrip()[-1] in '."`)', rule


def test_an_idle_comment_about_rows_is_reported_only_where_rows_were_looked_at(folder: Path) -> None:
    text = (folder / "right.yaml").read_text()
    (folder / "right.yaml").write_text("# fin: ignore D03 T02\n" + text)
    assert typed("right.yaml", "--no-rows").exit_code == 0
    assert "I01" in typed("right.yaml").stdout and "T02" not in typed("right.yaml").stdout
