"""Runs that are killed and stopped at any moment go on from there, and leave nothing at work."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from fin_plugins.experiments.running import state
from fin_plugins.experiments.running.run import run_plan
from fin_plugins.experiments.running.snakemake import Limits
from tests.conftest import ROOT
from tests.experiments.running.killing import at_work, wait_until
from tests.experiments.running.plans import WHOLE, diamond, ran

HERE = Limits(2, 4, ())


def drive(work: Path, seconds: float, *profile: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "tests.experiments.running.drive", str(work), str(seconds), *profile]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen(words, cwd=ROOT, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("seed", "times"), [(1, 1), *(pytest.param(seed, 3, marks=pytest.mark.prove) for seed in range(2, 8))]
)
def test_killed_at_random_moments_it_ends_with_the_same(tmp_path: Path, seed: int, times: int) -> None:
    plan, moments = diamond(tmp_path, 0.8), random.Random(seed)
    started = lambda: list((tmp_path / "running").glob("*.json"))  # noqa: E731
    for _ in range(times):
        process = drive(tmp_path, 0.8)
        wait_until(lambda: started() or process.poll() is not None)  # noqa: B023
        time.sleep(moments.uniform(0, 2))
        with suppress(ProcessLookupError):  # it may be through
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        done = [step.name for step in plan.steps if plan.done(step)]
        wait_until(lambda: not at_work(tmp_path))  # Snakemake and the steps went with it
        assert all(ran(tmp_path).count(name) == 1 for name in done)
    assert run_plan(plan, limits=HERE).failed == {}
    assert (tmp_path / "made/last").read_text() == WHOLE
    assert all(ran(tmp_path).count(name) == 1 for name in done)


def test_ctrl_c_stops_the_steps_too(tmp_path: Path) -> None:
    plan = diamond(tmp_path, 60)
    process = drive(tmp_path, 60)
    wait_until(lambda: state.read(plan, state.RUNNING))
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert at_work(tmp_path) == [] and not state.read(plan, state.RUNNING) and not state.read(plan, state.FAILED)


def test_a_step_that_is_killed_has_failed_and_the_next_run_goes_on(tmp_path: Path) -> None:
    plan = diamond(tmp_path, 60)
    process = drive(tmp_path, 60)
    wait_until(lambda: "first" in state.read(plan, state.RUNNING))
    os.killpg(state.read(plan, state.RUNNING)["first"]["group"], signal.SIGKILL)
    assert process.wait(30) == 1
    assert state.read(plan, state.FAILED)["first"]["why"] == "it was ended by SIGKILL (out of memory?)"
    assert run_plan(diamond(tmp_path), limits=HERE).failed == {} and len(ran(tmp_path)) == 4
