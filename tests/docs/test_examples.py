"""The worked examples are what `fin task new` writes, and are free of problems."""

import csv
import shutil
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from fin_plugins.cli.main import fin
from tests.conftest import ROOT
from tests.docs.commands import blocks

EXAMPLES = ROOT / "examples"
LABELS = {
    "headlines": {"negative", "neutral", "positive"},
    "letters": {"refund", "delivery", "advice", "praise"},
}
COMMANDS = {command[3]: command for block in blocks((EXAMPLES / "README.md").read_text()) for command in block.commands}


def test_the_examples_are_those_of_the_readme() -> None:
    assert set(COMMANDS) == set(LABELS) == {folder.name for folder in EXAMPLES.iterdir() if folder.is_dir()}
    assert all(command[:3] == ["fin", "task", "new"] for command in COMMANDS.values())


@pytest.mark.parametrize("name", LABELS)
def test_fin_task_new_writes_them(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(EXAMPLES / name / "rows.csv", tmp_path)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(fin, COMMANDS[name][1:], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    written = {file.name: file.read_text(encoding="utf-8") for file in tmp_path.iterdir()}
    assert set(written) == {"rows.csv", f"{name}.yaml", f"{name}_gen.yaml"}
    assert written == {file.name: file.read_text(encoding="utf-8") for file in (EXAMPLES / name).iterdir()}


@pytest.mark.parametrize("name", LABELS)
def test_rows_are_many_enough_and_no_text_stands_twice(name: str) -> None:
    with (EXAMPLES / name / "rows.csv").open(encoding="utf-8", newline="") as file:
        _, *rows = csv.reader(file)
    assert len(rows) == 120 and len({text.casefold() for text, _ in rows}) == 120
    counts = Counter(label for _, label in rows)
    assert set(counts) == LABELS[name] and min(counts.values()) == max(counts.values())


def test_no_problem_in_them(monkeypatch: pytest.MonkeyPatch, demo_model_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    command = ["task", "check", "examples", "--tokenizer", str(demo_model_path)]
    done = CliRunner().invoke(fin, command, catch_exceptions=False)
    assert (done.exit_code, done.stdout) == (0, "4 files, no problem\n"), done.output
