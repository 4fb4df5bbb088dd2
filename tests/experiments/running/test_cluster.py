"""The way of a cluster: every step is a job that something else starts. Here that is a shell on this machine."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from fin_plugins.experiments.running import state
from fin_plugins.experiments.running.run import run_plan
from fin_plugins.experiments.running.snakemake import Limits
from fin_plugins.experiments.steps import Plan
from tests.experiments.running.plans import diamond, ran, two
from tests.experiments.running.test_killed import drive, wait_until

pytest.importorskip("snakemake_executor_plugin_cluster_generic")

# Like sbatch: takes a job script, says a number, and runs the script some time later, detached.
SUBMIT = """#!/usr/bin/env bash
cd "$(dirname "$0")"
echo "$1" >> asked
nohup bash -c 'sleep 0.3; bash "$1"; echo $? > "job.$$"' job "$2" > "log.$$" 2>&1 &
echo $!
"""
STATUS = """#!/usr/bin/env bash
cd "$(dirname "$0")"
[ -f "job.$1" ] || { echo running; exit; }
[ "$(cat "job.$1")" = 0 ] && echo success || echo failed
"""


def profile(folder: Path) -> Path:
    """A profile for a cluster of one machine."""
    folder.mkdir()
    for name, text in (("submit", SUBMIT), ("status", STATUS)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    options = {
        "executor": "cluster-generic",
        "cluster-generic-submit-cmd": f"{folder}/submit {{resources.mem_mb}}:{{threads}}:{{resources.runtime}}",
        "cluster-generic-status-cmd": f"{folder}/status",
        "jobs": 2,
        "max-status-checks-per-second": 10,
        "seconds-between-status-checks": 1,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(options))
    return folder


def told(plan: Plan) -> list[dict[str, Any]]:
    """What the markers say, less what differs from run to run."""
    each = [json.loads((plan.work / path).read_text()) for step in plan.steps for path in step.markers]
    measured = ("seconds", "cpu_seconds", "peak_bytes", "started")
    return [{name: value for name, value in one.items() if name not in measured} for one in each]


def test_jobs_make_what_a_local_run_makes(tmp_path: Path) -> None:
    here, there = two(tmp_path / "here"), two(tmp_path / "there, with ä and space")
    assert run_plan(here, limits=Limits(2, 4, ())).failed == {}
    assert run_plan(there, limits=None, profile=profile(tmp_path / "cluster")).failed == {}
    assert told(there) == told(here) and ran(there.work) == ran(here.work)
    assert (there.work / "made/last").read_text() == (here.work / "made/last").read_text()
    assert (tmp_path / "cluster/asked").read_text() == "100:1:1440\n" * 2  # MB, cores, minutes


@pytest.mark.prove
def test_a_failed_job_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    plan = diamond(tmp_path / "work")
    steps = [one if one.name != "left" else type(one)(**{**vars(one), "command": ("false",)}) for one in plan.steps]
    folder = profile(tmp_path / "cluster")
    outcome = run_plan(Plan("demo", plan.work, tuple(steps)), limits=None, profile=folder)
    assert set(outcome.failed) == {"left"} and outcome.waiting == ("last",)
    assert state.read(plan, state.FAILED)["left"]["why"] == "it ended with exit status 1"
    assert run_plan(plan, limits=None, profile=folder).failed == {} and len(ran(plan.work)) == 4


@pytest.mark.prove
def test_jobs_of_a_killed_run_go_on_and_are_not_run_twice(tmp_path: Path) -> None:
    plan, folder = diamond(tmp_path / "work", 10), profile(tmp_path / "cluster")
    process = drive(plan.work, 10, str(folder))
    wait_until(lambda: "first" in state.read(plan, state.RUNNING))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert run_plan(plan, limits=None, profile=folder).failed == {}
    assert sorted(ran(plan.work)) == ["first", "last", "left", "right"]
