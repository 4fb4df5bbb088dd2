"""One step, mostly run in this process: its command is a small real program."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fin_plugins.common.file_lock import try_lock
from fin_plugins.experiments.step_plan import Plan, Step, read_plan
from fin_plugins.experiments.step_runner import run_step
from fin_plugins.experiments.step_status import FAILED, RUNNING, read_status
from tests.experiments.plan_factories import KEY, completed_steps, step
from tests.experiments.process_helpers import is_alive, wait_until

MARKER = f"done/one-{KEY}.json"


def plan_of(work: Path, only: Step, **environment: str) -> Plan:
    return Plan("demo", work, (only,), environment=environment)


def command_line(plan: Plan) -> list[str]:
    """The command by which Snakemake runs the plan's step."""
    return [sys.executable, "-m", "fin_plugins.experiments.step_runner", str(plan.write()), "one"]


def test_record_of_a_step_as_snakemake_runs_it(tmp_path: Path) -> None:
    # A child process, as a model engine is: its time and memory count.
    child = "import time; big = b'x' * 90_000_000; time.sleep(0.8)"
    code = (
        f"import subprocess, sys, os; subprocess.run([sys.executable, '-c', {child!r}]); "
        "open('made', 'w').write(os.environ['FIN_DATA'])"
    )
    one = step("one", code=code, outputs=("made",), rows=30, engines=2)
    plan = plan_of(tmp_path, one, FIN_DATA="sample")
    # In its own process: on Linux the child's peak starts at the parent's size, and the process of the tests is large.
    subprocess.run(command_line(plan), cwd="/", check=True)
    assert read_plan(tmp_path / "plan.json").environment == {"FIN_DATA": "sample"}
    assert (tmp_path / "made").read_text() == "sample"
    record = json.loads((tmp_path / MARKER).read_text())
    assert (record["step"], record["kind"], record["key"]) == ("one", "train", KEY)
    assert (record["rows"], record["engines"], record["bytes"]) == (30, 2, len("sample"))
    assert record["seconds"] > 0.8 and 0 < record["cpu_seconds"] < record["seconds"]
    assert record["peak_bytes"] > 90e6
    assert record["versions"]["fin-plugins"] and record["versions"]["python"]
    assert record["command"] == list(one.command)
    assert not list((tmp_path / "running").glob("*.json"))


def test_every_marker_of_a_score_step_is_written(tmp_path: Path) -> None:
    one = step("one", markers=("done/a.json", "done/b.json"))
    assert run_step(plan_of(tmp_path, one), one) == 0
    assert (tmp_path / "done/a.json").read_text() == (tmp_path / "done/b.json").read_text()


def test_bytes_include_the_whole_folder_with_the_key(tmp_path: Path) -> None:
    folder = f"train/one-{KEY}"
    code = f"import os; os.makedirs('{folder}'); [open('{folder}/' + n, 'w').write('x' * 10) for n in ('a', 'b', 'c')]"
    one = step("one", code=code, outputs=(f"{folder}/a", f"{folder}/b"))
    assert run_step(plan_of(tmp_path, one), one) == 0
    assert json.loads((tmp_path / MARKER).read_text())["bytes"] == 30


def test_bytes_of_a_score_step_include_the_files_it_lists(tmp_path: Path) -> None:
    code = """
import json, os
os.makedirs("scores"), os.makedirs("written")
open("scores/results.json", "w").write("x" * 1000)
open("written/base.json", "w").write(json.dumps({"files": ["../scores/results.json"]}))
"""
    one = step("one", code=code, kind="score", outputs=("written/base.json",))
    assert run_step(plan_of(tmp_path, one), one) == 0
    list_bytes = (tmp_path / "written/base.json").stat().st_size
    assert json.loads((tmp_path / MARKER).read_text())["bytes"] == 1000 + list_bytes


@pytest.mark.parametrize(
    ("code", "cause"), [("print('no such model'); raise SystemExit(3)", "exit status 3"), ("pass", "made/one")]
)
def test_a_failed_step_has_no_marker_and_a_cause(code: str, cause: str, tmp_path: Path) -> None:
    one = step("one", code=code)
    plan = plan_of(tmp_path, one)
    assert run_step(plan, one) == 1
    assert cause in read_status(plan, FAILED)["one"]["why"]
    assert not (tmp_path / MARKER).exists()
    assert "print" not in code or (tmp_path / one.log).read_text().splitlines()[-1] == "no such model"


def test_fin_is_the_installed_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    one = step("one", command=("fin", "path"), outputs=("logs",))
    assert run_step(plan_of(tmp_path, one), one) == 0
    assert (tmp_path / one.log).read_text().strip().endswith("lm_eval_tasks")


def test_a_step_started_twice_runs_once(tmp_path: Path) -> None:
    command = command_line(plan_of(tmp_path, step("one", seconds=1)))
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert completed_steps(tmp_path) == ["one"]


def test_what_a_command_leaves_running_is_ended(tmp_path: Path) -> None:
    code = """
import pathlib, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path("made").write_text(str(child.pid))
"""
    one = replace(step("one", code=code), outputs=("made",))
    assert run_step(plan_of(tmp_path, one), one) == 0
    child = int((tmp_path / "made").read_text())
    wait_until(lambda: not is_alive(child))


def test_a_killed_step_ends_its_command(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, step("one", seconds=60))
    process = subprocess.Popen(command_line(plan))
    wait_until(lambda: "one" in read_status(plan, RUNNING))
    group = read_status(plan, RUNNING)["one"]["group"]
    process.kill()
    process.wait()
    wait_until(lambda: not is_alive(group))
    assert try_lock(tmp_path / "running" / f".one-{KEY}.lock") is not None
