"""`fin train` on the command line and as a module; the trainer itself is replaced."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from tests.training.record_factories import record, validation_curve

from fin_plugins.cli.main import fin
from fin_plugins.common.errors import FinError
from fin_plugins.training.train_record import ValidationPoint


def run_train(*arguments: str) -> Result:
    return CliRunner().invoke(fin, ["train", *arguments])


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Arguments of the trainer, which does not train."""
    calls: list[tuple[Any, ...]] = []

    def train(config: Any, name: str, *, fresh: bool = False) -> Any:
        calls.append((config, name, fresh))
        print("a library speaks")
        train_record = record(
            name=name, validation_curve=[ValidationPoint(step=0, epoch=0, mean=0.25, tasks={}), *validation_curve()]
        )
        return SimpleNamespace(record=asdict(train_record), folder=Path("out"), merged=None, base="org/base-1B")

    module = ModuleType("fin_plugins.training.train_run")
    module.train = train  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


def test_help_shows_how() -> None:
    text = run_train("--help").stdout
    for flag in ("--set", "--out", "--merge", "--copy", "--list", "--dry-run", "--fresh", "--json"):
        assert flag in text
    assert "fin train demo" in text and "accelerate launch -m fin_plugins.training" in text


def test_list() -> None:
    lines = run_train("--list").stdout.splitlines()
    assert any(line.split()[0] == "single_fomc" and "stance of the Fed" in line for line in lines)
    assert set(json.loads(run_train("--list", "--json").stdout)) == {line.split()[0] for line in lines}


def test_dry_run_prints_what_can_be_read_again(tmp_path: Path, runs: list[Any]) -> None:
    words = ["single_fomc", "--dry-run", "--set", "lora.r=3", "--set", "validation=off", "--out", "a: b", "--merge"]
    as_yaml, as_json = run_train(*words).stdout, run_train(*words, "--json").stdout
    resolved = json.loads(as_json)
    assert yaml.safe_load(as_yaml) == resolved and as_yaml.startswith("# ")
    assert (resolved["lora"]["r"], resolved["validation"], resolved["merge"]) == (3, None, True)
    assert resolved["output"] == "a: b"
    again = tmp_path / "again.yaml"
    again.write_text(as_yaml)
    assert json.loads(run_train(str(again), "--dry-run", "--json").stdout) == resolved
    assert runs == []


def test_training_gets_the_configuration(runs: list[Any]) -> None:
    result = run_train("single_fomc", "--set", "seed=7", "--fresh", "--out", "out")
    ((config, name, fresh),) = runs
    assert result.exit_code == 0 and "a library speaks" in result.stdout
    assert (config.seed, config.output, config.merge, name, fresh) == (7, "out", False, "single_fomc", True)
    assert all(part in result.stdout for part in ("step 300", "macro_f1 0.710", "0.250"))
    command = "fin eval --model fin_hf --model_args pretrained=org/base-1B --adapter out=out --tasks fin_fpb,fin_fiqa"
    assert command in result.stdout


def test_json_is_the_record_and_nothing_else_on_stdout(runs: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_train("demo", "--json")
    assert json.loads(result.stdout)["name"] == "demo" and "a library speaks" in result.stderr
    assert runs[0][2] is False
    monkeypatch.setenv("RANK", "1")
    assert run_train("demo", "--json").stdout == ""


def test_a_bad_name_and_a_bad_key_stop_before_training(runs: list[Any]) -> None:
    for words, message in [
        (["single_fomcc"], "single_fomc?"),
        (["demo", "--set", "lora.rr=16"], "--set lora.rr=16: "),
        (["demo", "--out", ""], "--out : "),
    ]:
        error = run_train(*words).exception
        assert isinstance(error, FinError) and message in str(error)
    assert runs == []


@pytest.mark.parametrize(("words", "to"), [(["demo", "--copy"], "demo.yaml"), (["--copy", "demo"], "demo.yaml")])
def test_copy(words: list[str], to: str, runs: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"fin train {to}" in run_train(*words).stdout
    assert Path(to).read_text().splitlines()[1].startswith("# A small real model")
    assert isinstance(run_train(*words).exception, FinError)
    assert run_train("demo", "--copy", "mine.yaml").exit_code == 0 and Path("mine.yaml").is_file()
    assert runs == []


@pytest.mark.parametrize("words", [[], ["--dry-run"], ["demo", "--copy", "--set", "seed=1"], ["demo", "--sett", "a=1"]])
def test_usage_errors_are_status_2(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_train(*words).exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_the_module_is_the_same_command(tmp_path: Path) -> None:
    module = [sys.executable, "-m", "fin_plugins.training"]
    result = subprocess.run([*module, "demo", "--dry-run", "--json"], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0 and json.loads(result.stdout) == json.loads(
        run_train("demo", "--dry-run", "--json").stdout
    )
    wrong = subprocess.run([*module, "demoo"], capture_output=True, text=True, cwd=tmp_path)
    assert wrong.returncode == 1 and wrong.stderr.startswith("fin: error: demoo: ")
