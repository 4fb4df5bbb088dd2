"""`fin run` as typed. The file is a real one, Snakemake runs the steps, and these are real little programs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.experiments.running.plans import ran, step

from fin_plugins.cli.main import fin
from fin_plugins.common.errors import FinError
from fin_plugins.experiments.steps import Plan


def typed(*words: str) -> Result:
    return CliRunner().invoke(fin, ["run", *words])


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """In place of the steps that the file asks for two little programs; and what the planner is asked for."""
    asked: dict[str, Any] = {"steps": (step("train-demo-first"), step("train-demo-last", ["train-demo-first"]))}

    def make_plan(config: Any, name: str, work: Path) -> Plan:
        asked.update(config=config, name=name, work=work)
        return Plan(name, work, asked["steps"], environment={"FIN_DATA": config.rows.data})

    monkeypatch.setattr("fin_plugins.experiments.planning.plan.make_plan", make_plan)
    return asked


def test_help_shows_how() -> None:
    shown = typed("--help").stdout
    for flag in ("--set", "--out", "--cores", "--memory", "--gpus", "--profile", "--dry-run", "--dag", "--json"):
        assert flag in shown
    assert "fin run demo" in shown and "same command started again" in shown


def test_list_and_copy(tmp_path: Path) -> None:
    names = set(json.loads(typed("--list", "--json").stdout))
    assert {"demo", "paper", "smollm2"} <= names
    target = tmp_path / "my.yaml"
    for words in (("demo", "--copy", str(target)), ("--copy", "demo")):
        with CliRunner().isolated_filesystem(tmp_path):
            result = typed(*words)
        assert result.exit_code == 0 and "edit it, then run `fin run " in result.stdout
    assert target.read_text().startswith("# yaml-language-server")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name an experiment file or a shipped one"),
        (("demo", "smollm2"), "smollm2: one experiment at a time"),
        (("demo", "--profile", "slurm", "--cores", "2"), "--cores, --memory and --gpus are this machine's"),
    ],
)
def test_what_makes_no_sense_is_status_2(words: tuple[str, ...], said: str, little: dict[str, Any]) -> None:
    result = typed(*words)
    assert result.exit_code == 2 and said in result.stderr


def test_what_is_wrong_with_the_file_is_said_before_anything_runs(tmp_path: Path) -> None:
    result = typed("demo", "--set", "rows.tests=3", "--set", "board.reference=mutli", "--out", str(tmp_path / "out"))
    assert isinstance(result.exception, FinError) and not (tmp_path / "out").exists()
    assert "did you mean test?" in str(result.exception) and "did you mean multi?" in str(result.exception)


def test_dry_run_of_a_shipped_file(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("demo", "--dry-run", "--out", str(out))
    assert "8 of 8 steps to do" in typed(*words).stdout
    told = json.loads(typed(*words, "--json").stdout)
    assert told["to_do"] == 8 and told["seconds"] > 0 and told["bytes"] > 0
    assert not out.exists()


def test_dag(tmp_path: Path, little: dict[str, Any]) -> None:
    assert '"train-demo-first" -> "train-demo-last"' in typed("demo", "--dag", "-").stdout
    assert typed("demo", "--dag", str(tmp_path / "plan.svg")).exit_code == 0
    assert "last" in (tmp_path / "plan.svg").read_text()


def test_a_run_and_one_more(tmp_path: Path, little: dict[str, Any], demo_model_path: Path) -> None:
    words = ("demo", "--out", str(tmp_path), "--set", "rows.test=3", "--cores", "2", "--memory", "4")
    first = typed(*words)
    assert first.exit_code == 0, first.output
    assert "2 of 2 steps to do, on 2 cores, 4 GB of memory" in first.stderr and "peak memory" in first.stdout
    assert little["config"].rows.test == 3 and little["work"] == tmp_path
    record = json.loads((tmp_path / "record.json").read_text())
    assert (record["steps"], record["open"], record["kinds"]["train"]["steps"]) == (2, 0, 2)
    assert "| train | 2 |" in (tmp_path / "record.md").read_text()
    second = typed(*words, "--json")
    assert second.exit_code == 0 and "nothing to do: all 2 steps are done" in second.stderr
    assert json.loads(second.stdout) == record and len(ran(tmp_path)) == 2


def test_a_failed_step_is_named_with_its_words(tmp_path: Path, little: dict[str, Any], demo_model_path: Path) -> None:
    bad = step("train-demo-first", code="print('no room on the disk'); raise SystemExit(2)")
    little["steps"] = (bad, *little["steps"][1:])
    result = typed("demo", "--out", str(tmp_path))
    assert result.exit_code == 1 and isinstance(result.exception, FinError)
    said = str(result.exception)
    assert said.startswith(
        "1 of 2 steps failed\ntrain-demo-first: it ended with exit status 2\n    no room on the disk\n"
    )
    assert str(tmp_path / bad.log) in said and "not run for that: train-demo-last" in said and "same command" in said


def test_more_than_there_is(tmp_path: Path, little: dict[str, Any], demo_model_path: Path) -> None:
    one = little["steps"][0]
    little["steps"] = (replace(one, resources=one.resources.model_copy(update={"gpus": 64})),)
    result = typed("demo", "--out", str(tmp_path))
    assert isinstance(result.exception, FinError) and "train-demo-first: takes 64 GPUs" in str(result.exception)
    little["steps"] = (replace(one, bytes=10**17, command=("false",)),)
    assert "GB free there, and the steps write about 100000000 GB" in typed("demo", "--out", str(tmp_path)).stderr


def test_the_environment_does_not_choose_the_rows(
    tmp_path: Path, little: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIN_DATA", "real")
    assert "FIN_DATA=real counts for nothing" in typed("demo", "--dag", "-").stderr
    monkeypatch.setenv("FIN_DATA", "sample")
    assert typed("demo", "--dag", "-").stderr == ""
