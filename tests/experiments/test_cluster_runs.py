"""Steps as jobs of a cluster, which here is a shell on this machine."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from fin_plugins.experiments.machine_limits import Limits
from fin_plugins.experiments.snakemake_run import run_plan
from fin_plugins.experiments.step_plan import Plan
from fin_plugins.experiments.step_status import FAILED, RUNNING, read_status
from tests.experiments.plan_factories import chain, completed_steps, diamond
from tests.experiments.process_helpers import start_run, wait_until

pytest.importorskip("snakemake_executor_plugin_cluster_generic")

# Like sbatch: takes a job script, prints a number, and runs the script a little later, detached.
SUBMIT = """#!/usr/bin/env bash
cd "$(dirname "$0")"
echo "$1" >> requested
nohup bash -c 'sleep 0.3; bash "$1"; echo $? > "job.$$"' job "$2" > "log.$$" 2>&1 &
echo $!
"""
STATUS = """#!/usr/bin/env bash
cd "$(dirname "$0")"
[ -f "job.$1" ] || { echo running; exit; }
[ "$(cat "job.$1")" = 0 ] && echo success || echo failed
"""


def make_profile(folder: Path) -> Path:
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


def stable_records(plan: Plan) -> list[dict[str, Any]]:
    """Contents of the markers without what differs from run to run."""
    records = [json.loads((plan.work / path).read_text()) for step in plan.steps for path in step.markers]
    measured = ("seconds", "cpu_seconds", "peak_bytes", "started")
    return [{name: value for name, value in record.items() if name not in measured} for record in records]


def test_jobs_give_the_results_of_a_local_run(tmp_path: Path) -> None:
    local, remote = chain(tmp_path / "local"), chain(tmp_path / "remote, with ä and space")
    assert run_plan(local, limits=Limits(2, 4, ())).failed == {}
    assert run_plan(remote, limits=None, profile=make_profile(tmp_path / "cluster")).failed == {}
    assert stable_records(remote) == stable_records(local)
    assert completed_steps(remote.work) == completed_steps(local.work)
    assert (remote.work / "made/last").read_text() == (local.work / "made/last").read_text()
    assert (tmp_path / "cluster/requested").read_text() == "100:1:1440\n" * 2  # MB, cores, minutes


@pytest.mark.prove
def test_a_failed_job_is_reported_and_the_others_go_on(tmp_path: Path) -> None:
    plan = diamond(tmp_path / "work")
    steps = tuple(replace(step, command=("false",)) if step.name == "left" else step for step in plan.steps)
    profile = make_profile(tmp_path / "cluster")
    outcome = run_plan(Plan("demo", plan.work, steps), limits=None, profile=profile)
    assert set(outcome.failed) == {"left"} and outcome.skipped == ("last",)
    assert "exit status 1" in read_status(plan, FAILED)["left"]["why"]
    assert run_plan(plan, limits=None, profile=profile).failed == {} and len(completed_steps(plan.work)) == 4


@pytest.mark.prove
def test_jobs_of_a_killed_run_go_on_and_do_not_run_twice(tmp_path: Path) -> None:
    plan, profile = diamond(tmp_path / "work", 10), make_profile(tmp_path / "cluster")
    process = start_run(plan.work, 10, str(profile))
    wait_until(lambda: "first" in read_status(plan, RUNNING))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert run_plan(plan, limits=None, profile=profile).failed == {}
    assert sorted(completed_steps(plan.work)) == ["first", "last", "left", "right"]
