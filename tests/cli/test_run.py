"""`fin run` on the command line: a real file; Snakemake runs steps that are small real programs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.experiments.plan_factories import completed_steps, step

from fin_plugins.cli.main import fin
from fin_plugins.common.errors import FinError
from fin_plugins.experiments.step_plan import Plan


def run_fin(*arguments: str) -> Result:
    return CliRunner().invoke(fin, ["run", *arguments])


@pytest.fixture
def small_plan(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Two small programs instead of the experiment's steps; records the planner's arguments."""
    planned: dict[str, Any] = {"steps": (step("train-demo-first"), step("train-demo-last", ["train-demo-first"]))}

    def make_plan(config: Any, name: str, work: Path) -> Plan:
        planned.update(config=config, name=name, work=work)
        return Plan(name, work, planned["steps"], environment={"FIN_DATA": config.rows.data})

    monkeypatch.setattr("fin_plugins.experiments.experiment_plan.make_plan", make_plan)
    return planned


def test_help_shows_options_and_examples() -> None:
    text = run_fin("--help").stdout
    for flag in ("--set", "--out", "--cores", "--memory", "--gpus", "--profile", "--dry-run", "--dag", "--json"):
        assert flag in text
    assert "fin run demo" in text and "Run the same command again" in text


def test_list_and_copy(tmp_path: Path) -> None:
    names = set(json.loads(run_fin("--list", "--json").stdout))
    assert {"demo", "paper", "smollm2"} <= names
    target = tmp_path / "my.yaml"
    for words in (("demo", "--copy", str(target)), ("--copy", "demo")):
        with CliRunner().isolated_filesystem(tmp_path):
            result = run_fin(*words)
        assert result.exit_code == 0 and "`fin run " in result.stdout
    assert target.read_text().startswith("# yaml-language-server")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ((), "experiment file"),
        (("demo", "smollm2"), "smollm2: "),
        (("demo", "--profile", "slurm", "--cores", "2"), "--cores, --memory and --gpus"),
    ],
)
def test_usage_errors_are_status_2(words: tuple[str, ...], part: str, small_plan: dict[str, Any]) -> None:
    result = run_fin(*words)
    assert result.exit_code == 2 and part in result.stderr


def test_problems_of_the_file_are_reported_before_anything_runs(tmp_path: Path) -> None:
    result = run_fin("demo", "--set", "rows.tests=3", "--set", "board.reference=mutli", "--out", str(tmp_path / "out"))
    assert isinstance(result.exception, FinError) and not (tmp_path / "out").exists()
    assert "did you mean test?" in str(result.exception) and "did you mean multi?" in str(result.exception)


def test_dry_run_of_a_shipped_file(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("demo", "--dry-run", "--out", str(out))
    assert "8 of 8 steps to do" in run_fin(*words).stdout
    data = json.loads(run_fin(*words, "--json").stdout)
    assert data["to_do"] == 8 and data["seconds"] > 0 and data["bytes"] > 0
    assert not out.exists()


def test_dag(tmp_path: Path, small_plan: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert '"train-demo-first" -> "train-demo-last"' in run_fin("demo", "--dag", "-").stdout
    assert run_fin("demo", "--dag", str(tmp_path / "plan.mmd")).exit_code == 0
    assert "train-demo-last" in (tmp_path / "plan.mmd").read_text()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "Graphviz" in str(run_fin("demo", "--dag", str(tmp_path / "plan.svg")).exception)


def test_a_run_and_another_one(tmp_path: Path, small_plan: dict[str, Any], demo_model_path: Path) -> None:
    words = ("demo", "--out", str(tmp_path), "--set", "rows.test=3", "--cores", "2", "--memory", "4")
    first = run_fin(*words)
    assert first.exit_code == 0, first.output
    assert "2 of 2 steps to do, on 2 cores, 4 GB of memory" in first.stderr and "peak memory" in first.stdout
    assert small_plan["config"].rows.test == 3 and small_plan["work"] == tmp_path
    record = json.loads((tmp_path / "record.json").read_text())
    assert (record["steps"], record["open"], record["kinds"]["train"]["steps"]) == (2, 0, 2)
    assert "| train | 2 |" in (tmp_path / "record.md").read_text()
    second = run_fin(*words, "--json")
    assert second.exit_code == 0 and "nothing to do: all 2 steps are done" in second.stderr
    assert json.loads(second.stdout) == record and len(completed_steps(tmp_path)) == 2


def test_a_failed_step_is_reported_with_its_output(
    tmp_path: Path, small_plan: dict[str, Any], demo_model_path: Path
) -> None:
    failing = step("train-demo-first", code="print('no room on the disk'); raise SystemExit(2)")
    small_plan["steps"] = (failing, *small_plan["steps"][1:])
    result = run_fin("demo", "--out", str(tmp_path))
    assert result.exit_code == 1 and isinstance(result.exception, FinError)
    message = str(result.exception)
    for part in ("1 of 2 steps", "train-demo-first: ", "exit status 2", "no room on the disk", ": train-demo-last"):
        assert part in message
    assert str(tmp_path / failing.log) in message


def test_more_gpus_or_disk_than_there_is(tmp_path: Path, small_plan: dict[str, Any], demo_model_path: Path) -> None:
    first = small_plan["steps"][0]
    small_plan["steps"] = (replace(first, resources=first.resources.model_copy(update={"gpus": 64})),)
    result = run_fin("demo", "--out", str(tmp_path))
    assert isinstance(result.exception, FinError) and "train-demo-first: needs 64 GPUs" in str(result.exception)
    small_plan["steps"] = (replace(first, bytes=10**17, command=("false",)),)
    assert "GB free there, and the steps write about 100000000 GB" in run_fin("demo", "--out", str(tmp_path)).stderr


def test_fin_data_is_ignored_with_a_warning(
    tmp_path: Path, small_plan: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIN_DATA", "real")
    assert "FIN_DATA=real is ignored" in run_fin("demo", "--dag", "-").stderr
    monkeypatch.setenv("FIN_DATA", "sample")
    assert run_fin("demo", "--dag", "-").stderr == ""
