"""Runs that are killed or stopped at any moment resume, leave no process behind, and give the same board."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from fin_plugins.experiments.machine_limits import Limits
from fin_plugins.experiments.snakemake_run import run_plan
from fin_plugins.experiments.step_status import FAILED, RUNNING, read_status
from tests.experiments.plan_factories import DIAMOND_RESULT, completed_steps, diamond
from tests.experiments.process_helpers import processes_in, start_run, wait_until

LIMITS = Limits(2, 4, ())
FIN = (sys.executable, "-c", "from fin_plugins.cli.main import main; main()")
TINY = """
models: {{tiny: {model}}}
tasks: {{seen: [fin_fomc, fin_fpb], unseen: [fin_deal]}}
rows: {{data: sample, test: 3}}
training:
  fomc: {{file: demo, set: {{tasks: [fin_fomc], max_steps: 4, max_length: 4096, validation: off}}}}
  sentiment: {{file: demo, set: {{tasks: [fin_fpb], max_steps: 4, max_length: 4096, validation: off}}}}
merges:
  average: {{experts: [fomc, sentiment], recipe: task_arithmetic}}
board: {{reference: fomc}}
resources: {{train: {{cores: 1}}}}
"""
MINIMAL = """
models: {{tiny: {model}}}
tasks: {{seen: [fin_fomc], unseen: [fin_deal]}}
protocols: [likelihood]
rows: {{data: sample, test: 3}}
training:
  fomc: {{file: demo, set: {{tasks: [fin_fomc], max_steps: 2, max_length: 4096, validation: off}}}}
board: {{reference: fomc}}
resources: {{train: {{cores: 1}}}}
"""


def status_files(work: Path) -> list[Path]:
    return list((work / "running").glob("*.json"))


@pytest.mark.parametrize(
    ("seed", "kills"), [(1, 1), *(pytest.param(seed, 3, marks=pytest.mark.prove) for seed in range(2, 8))]
)
def test_a_run_killed_at_random_moments_gives_the_same_result(tmp_path: Path, seed: int, kills: int) -> None:
    plan, moments = diamond(tmp_path, 0.8), random.Random(seed)
    for _ in range(kills):
        process = start_run(tmp_path, 0.8)
        wait_until(lambda: status_files(tmp_path) or process.poll() is not None)  # noqa: B023
        time.sleep(moments.uniform(0, 2))
        with suppress(ProcessLookupError):  # it may have ended
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        complete = [step.name for step in plan.steps if plan.is_complete(step)]
        wait_until(lambda: not processes_in(tmp_path))  # Snakemake and the steps ended too
        assert all(completed_steps(tmp_path).count(name) == 1 for name in complete)
    assert run_plan(plan, limits=LIMITS).failed == {}
    assert (tmp_path / "made/last").read_text() == DIAMOND_RESULT
    assert all(completed_steps(tmp_path).count(name) == 1 for name in complete)


def test_ctrl_c_stops_the_steps_too(tmp_path: Path) -> None:
    plan = diamond(tmp_path, 60)
    process = start_run(tmp_path, 60)
    wait_until(lambda: read_status(plan, RUNNING))
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert processes_in(tmp_path) == [] and not read_status(plan, RUNNING) and not read_status(plan, FAILED)


def test_a_killed_step_has_failed_and_the_next_run_resumes(tmp_path: Path) -> None:
    plan = diamond(tmp_path, 60)
    process = start_run(tmp_path, 60)
    wait_until(lambda: "first" in read_status(plan, RUNNING))
    os.killpg(read_status(plan, RUNNING)["first"]["group"], signal.SIGKILL)
    assert process.wait(30) == 1
    assert "SIGKILL (out of memory?)" in read_status(plan, FAILED)["first"]["why"]
    assert run_plan(diamond(tmp_path), limits=LIMITS).failed == {} and len(completed_steps(tmp_path)) == 4


def start_fin(file: str, work: Path) -> subprocess.Popen[bytes]:
    with (work.parent / f"{work.name}.log").open("ab") as log:
        return subprocess.Popen([*FIN, "run", file, "--out", str(work)], start_new_session=True, stdout=log, stderr=log)


def run_to_the_end(file: str, work: Path) -> None:
    log = work.parent / f"{work.name}.log"
    assert start_fin(file, work).wait() == 0, log.read_text(encoding="utf-8")[-3000:]


def run_and_kill(file: str, work: Path, seconds: float) -> None:
    """Start a run, and kill it this many seconds after a step has begun; it may have ended by then."""
    process = start_fin(file, work)
    wait_until(lambda: status_files(work) or process.poll() is not None)
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not processes_in(work))


def result_hashes(work: Path) -> dict[str, str]:
    """Hashes of the board's files and of all adapters and checkpoints, by path."""
    files = {file for pattern in ("board/**/*", "*/**/*.safetensors") for file in work.glob(pattern) if file.is_file()}
    return {str(file.relative_to(work)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def check_that_kills_change_nothing(file: str, folder: Path, *, kills: int, seed: int) -> None:
    start = time.monotonic()
    run_to_the_end(file, folder / "unbroken")
    seconds, moments = time.monotonic() - start, random.Random(seed)
    for _ in range(kills):  # each run resumes the one before, so the kills fall all over the experiment
        run_and_kill(file, folder / "killed", moments.uniform(0, seconds / kills))
    run_to_the_end(file, folder / "killed")
    unbroken, killed = result_hashes(folder / "unbroken"), result_hashes(folder / "killed")
    assert any(name.startswith("board/") for name in unbroken) and any(name.endswith("tensors") for name in unbroken)
    assert killed == unbroken  # boards contain the date: this fails over midnight, UTC


@pytest.mark.prove
def test_a_minimal_experiment_after_a_kill(tmp_path: Path, tiny_models: dict[str, Path]) -> None:
    """Trained, killed, resumed, scored, and on a board."""
    file, work = tmp_path / "minimal.yaml", tmp_path / "work"
    file.write_text(MINIMAL.format(model=tiny_models["llama3"]), encoding="utf-8")
    run_and_kill(str(file), work, 2)
    run_to_the_end(str(file), work)
    (board_file,) = (work / "board").glob("*/board.json")
    board = json.loads(board_file.read_text(encoding="utf-8"))
    assert {column["key"] for column in board["columns"]} == {"fin_fomc", "fin_deal"}
    assert len({cell["model"] for cell in board["cells"]}) == 2


@pytest.mark.prove
def test_a_tiny_experiment(tmp_path: Path, tiny_models: dict[str, Path]) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY.format(model=tiny_models["llama3"]), encoding="utf-8")
    check_that_kills_change_nothing(str(file), tmp_path, kills=1, seed=1)


@pytest.mark.prove
@pytest.mark.usefixtures("demo_model_path")
def test_the_demo(tmp_path: Path) -> None:
    check_that_kills_change_nothing("demo", tmp_path, kills=3, seed=2)
