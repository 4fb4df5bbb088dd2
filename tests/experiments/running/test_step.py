"""One step, run in this process: its command is a real little program."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fin_plugins.common import file_lock
from fin_plugins.experiments.config import Resources
from fin_plugins.experiments.running import gpus, state
from fin_plugins.experiments.running.step import run_step
from fin_plugins.experiments.steps import Plan, Step, read_plan
from tests.experiments.running.plans import KEY, ran, step

MARKER = f"done/one-{KEY}.json"


def plan_of(work: Path, only: Step, **more: str) -> Plan:
    return Plan("demo", work, (only,), environment=more)


def test_what_its_marker_says(tmp_path: Path) -> None:
    code = "import time; big = b'x' * 60_000_000; open('made', 'w').write('x' * 700); time.sleep(0.8)"
    # A model engine is a process that the command starts: its time and memory count.
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    one = step("one", code=code, outputs=("made",), rows=30, engines=2)
    # In a process of its own, as it is run: Linux counts the memory of the parent at the moment of the fork as the
    # child's, and the tests' own process is large.
    words = ["-m", "fin_plugins.experiments.running.step", str(plan_of(tmp_path, one).write()), "one"]
    subprocess.run([sys.executable, *words], check=True)
    told = json.loads((tmp_path / MARKER).read_text())
    assert told["step"] == "one" and told["kind"] == "train" and told["key"] == KEY
    assert (told["rows"], told["engines"], told["bytes"]) == (30, 2, 700)
    assert 0.8 < told["seconds"] < 20 and 0 < told["cpu_seconds"] < told["seconds"]
    assert 60e6 < told["peak_bytes"] < 300e6
    assert told["versions"]["fin-plugins"] and told["versions"]["python"]
    assert told["command"] == list(one.command)
    assert not list((tmp_path / "running").glob("*.json"))


def test_every_marker_of_a_score_step_is_written(tmp_path: Path) -> None:
    one = step("one", markers=("done/a.json", "done/b.json"))
    assert run_step(plan_of(tmp_path, one), one) == 0
    assert (tmp_path / "done/a.json").read_text() == (tmp_path / "done/b.json").read_text()


def test_bytes_are_those_of_the_folder_that_has_the_key(tmp_path: Path) -> None:
    folder = f"train/one-{KEY}"
    code = f"import os; os.makedirs('{folder}'); [open('{folder}/' + n, 'w').write('x' * 10) for n in ('a', 'b', 'c')]"
    one = step("one", code=code, outputs=(f"{folder}/a", f"{folder}/b"))
    assert run_step(plan_of(tmp_path, one), one) == 0
    assert json.loads((tmp_path / MARKER).read_text())["bytes"] == 30


def test_bytes_of_a_score_step_are_those_of_the_files_it_lists(tmp_path: Path) -> None:
    code = """
import json, os
os.makedirs("scores"), os.makedirs("written")
open("scores/results.json", "w").write("x" * 1000)
open("written/base.json", "w").write(json.dumps({"files": ["../scores/results.json"]}))
"""
    one = step("one", code=code, kind="score", outputs=("written/base.json",))
    assert run_step(plan_of(tmp_path, one), one) == 0
    listed = (tmp_path / "written/base.json").stat().st_size
    assert json.loads((tmp_path / MARKER).read_text())["bytes"] == 1000 + listed


def test_a_command_that_fails_leaves_no_marker_and_says_why(tmp_path: Path) -> None:
    one = step("one", code="print('no such model'); raise SystemExit(3)")
    plan = plan_of(tmp_path, one)
    assert run_step(plan, one) == 1
    assert state.read(plan, state.FAILED)["one"]["why"] == "it ended with exit status 3"
    assert not (tmp_path / MARKER).exists()
    assert (tmp_path / one.log).read_text().splitlines()[-1] == "no such model"


def test_a_command_that_makes_nothing_has_failed(tmp_path: Path) -> None:
    one = step("one", code="pass")
    plan = plan_of(tmp_path, one)
    assert run_step(plan, one) == 1
    assert state.read(plan, state.FAILED)["one"]["why"] == "it made no made/one"


def test_the_installed_fin_is_run_where_fin_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")  # it need not be on the path
    one = step("one", command=("fin", "path"), outputs=("logs",))
    assert run_step(plan_of(tmp_path, one), one) == 0
    assert (tmp_path / one.log).read_text().strip().endswith("lm_eval_tasks")


def test_the_plan_says_what_the_command_sees(tmp_path: Path) -> None:
    one = step("one", code="import os, pathlib; pathlib.Path('made').write_text(os.environ['FIN_DATA'])")
    file = plan_of(tmp_path, Step(**{**vars(one), "outputs": ("made",)}), FIN_DATA="sample").write()
    words = [sys.executable, "-m", "fin_plugins.experiments.running.step", str(file), "one"]
    assert subprocess.run(words, cwd="/", check=False).returncode == 0  # as Snakemake calls it
    assert (tmp_path / "made").read_text() == "sample" and read_plan(file).environment == {"FIN_DATA": "sample"}


def test_a_step_that_runs_already_is_waited_for(tmp_path: Path) -> None:
    one = step("one", seconds=1)
    file = plan_of(tmp_path, one).write()
    words = [sys.executable, "-m", "fin_plugins.experiments.running.step", str(file), "one"]
    both = [subprocess.Popen(words) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert ran(tmp_path) == ["one"]


def test_what_a_command_leaves_running_is_ended(tmp_path: Path) -> None:
    code = """
import pathlib, subprocess, sys
left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path("made").write_text(str(left.pid))
"""
    one = step("one", code=code, outputs=("made",))
    assert run_step(plan_of(tmp_path, one), one) == 0
    left = int((tmp_path / "made").read_text())
    wait_until(lambda: not alive(left))


def test_a_killed_step_takes_its_command_along(tmp_path: Path) -> None:
    one = step("one", seconds=60)
    plan = plan_of(tmp_path, one)
    words = [sys.executable, "-m", "fin_plugins.experiments.running.step", str(plan.write()), "one"]
    process = subprocess.Popen(words)
    wait_until(lambda: "one" in state.read(plan, state.RUNNING))
    group = state.read(plan, state.RUNNING)["one"]["group"]
    process.kill()
    process.wait()
    wait_until(lambda: not alive(group))
    assert file_lock.try_lock(tmp_path / "running" / f".one-{KEY}.lock") is not None


def test_devices_are_each_held_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpus.SHARED_OUT, "2,5")
    got: list[str] = []

    def third() -> None:
        with gpus.taken(1, tmp_path) as (variables, _):
            got.append(variables["CUDA_VISIBLE_DEVICES"])

    with gpus.taken(1, tmp_path) as (one, locks):
        with gpus.taken(1, tmp_path) as (other, _):
            assert {one["CUDA_VISIBLE_DEVICES"], other["CUDA_VISIBLE_DEVICES"]} == {"2", "5"} and len(locks) == 1
            thread = threading.Thread(target=third)
            thread.start()
            time.sleep(0.7)
            assert got == []
        thread.join(10)
        assert got == [other["CUDA_VISIBLE_DEVICES"]]
    with gpus.taken(2, tmp_path) as (both, _):
        assert both == {"CUDA_VISIBLE_DEVICES": "2,5"}


def test_a_step_sees_only_the_devices_it_declares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv(gpus.SHARED_OUT, "0,1")
    code = "import os; open('made', 'w').write(os.environ.get('CUDA_VISIBLE_DEVICES', 'not set'))"
    for number, seen in ((0, ""), (1, "0"), (2, "0,1")):
        one = step("one", code=code, outputs=("made",), key=f"{number:012}", markers=(f"done/{number}.json",),
                   resources=Resources(gpus=number))  # fmt: skip
        assert run_step(plan_of(tmp_path / str(number), one), one) == 0
        assert (tmp_path / str(number) / "made").read_text() == seen


def test_a_cluster_gives_each_job_its_devices_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(gpus.SHARED_OUT, raising=False)
    with gpus.taken(1, tmp_path) as given:
        assert given == ({}, []) and not list(tmp_path.iterdir())


def test_devices_of_this_machine() -> None:
    assert gpus.devices({"CUDA_VISIBLE_DEVICES": "3,GPU-5e8"}) == ["3", "GPU-5e8"]
    assert gpus.devices({"CUDA_VISIBLE_DEVICES": ""}) == gpus.devices({"CUDA_VISIBLE_DEVICES": "-1"}) == []


def alive(process: int) -> bool:
    import psutil

    return psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE


def wait_until(true: object, seconds: float = 20) -> None:
    assert callable(true)
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)
