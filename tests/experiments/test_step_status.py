"""The progress of a run, as told by status files."""

import time
from pathlib import Path

import pytest

from fin_plugins.experiments.step_plan import Plan, Step
from fin_plugins.experiments.step_status import (
    FAILED,
    RUNNING,
    RunProgress,
    clear_status,
    last_log_line,
    log_tail,
    write_json,
    write_status,
)
from tests.experiments.plan_factories import diamond, step

SECONDS = {"first": 10.0, "left": 100.0, "right": 20.0, "last": 30.0}


def start(plan: Plan, step: Step, elapsed: float = 0) -> None:
    write_status(plan, step, RUNNING, {"started": time.time() - elapsed, "host": "here", "group": 0})


def finish(plan: Plan, step: Step, seconds: float) -> None:
    clear_status(plan, step, RUNNING)
    for path in step.outputs:
        (plan.work / path).parent.mkdir(exist_ok=True)
        (plan.work / path).touch()
    for path in step.markers:
        write_json(plan.work / path, {"seconds": seconds})


def test_every_event_is_reported_once(tmp_path: Path) -> None:
    plan = diamond(tmp_path)
    first, left = plan.steps[:2]
    run = RunProgress(plan, SECONDS, 2)
    assert run.poll() == [] and run.count() == "0/4"
    start(plan, first)
    assert run.poll() == ["first started"] and run.poll() == []
    finish(plan, first, 10)
    start(plan, left)
    assert run.poll() == ["left started", "first done in 10 s"] and run.count() == "1/4"
    (tmp_path / left.log).parent.mkdir()
    (tmp_path / left.log).write_text("# 2026-01-01 00:00 UTC: fin\nfin: error: no\n")
    clear_status(plan, left, RUNNING)
    write_status(plan, left, FAILED, {"why": "exit status 1", "seconds": 3})
    (event,) = run.poll()
    assert all(part in event for part in ("left FAILED", "3 s", "exit status 1", "fin: error: no"))
    assert run.poll() == [] and run.seen == {"first", "left"}


def test_running_steps_are_shown_with_time_and_last_log_line(tmp_path: Path) -> None:
    plan = diamond(tmp_path)
    run = RunProgress(plan, SECONDS, 2)
    assert run.describe_running() == ""
    for number, running in enumerate(plan.steps[1:3], start=1):
        (tmp_path / running.log).parent.mkdir(exist_ok=True)
        (tmp_path / running.log).write_text(f"loading\nstep {number} of 50\n")
        start(plan, running, elapsed=600)
    run.poll()
    left, right = run.describe_running().splitlines()
    assert all(part in left for part in ("left", "10 min", "step 1 of 50"))
    assert all(part in right for part in ("right", "10 min", "step 2 of 50"))


def test_status_files_of_an_earlier_plan_do_not_count(tmp_path: Path) -> None:
    other = step("first", key="ba9876543210")
    start(Plan("demo", tmp_path, (other,)), other)
    assert RunProgress(diamond(tmp_path), SECONDS, 2).poll() == []


def test_time_left_is_the_longest_chain_or_all_work_over_the_cores(tmp_path: Path) -> None:
    plan = diamond(tmp_path)
    assert RunProgress(plan, SECONDS, 4).seconds_left() == pytest.approx(10 + 100 + 30)
    assert RunProgress(plan, SECONDS, 1).seconds_left() == pytest.approx(10 + 100 + 20 + 30)
    assert "3 min" in RunProgress(plan, SECONDS, 1).time_left()
    unknown = RunProgress(plan, {"first": 1.0}, 4)
    assert unknown.seconds_left() is None and unknown.time_left() == ""


def test_time_left_follows_the_pace_of_the_steps_that_ended(tmp_path: Path) -> None:
    plan = diamond(tmp_path)
    first, left, right, _ = plan.steps
    run = RunProgress(plan, SECONDS, 4)
    finish(plan, first, 20)  # twice the estimate, but a short step among long ones
    start(plan, left, elapsed=50)
    run.poll()
    pace = (20 + 150) / (10 + 150)
    assert run.seconds_left() == pytest.approx(100 * pace - 50 + 30 * pace, abs=1)
    start(plan, left, elapsed=1000)
    run.poll()
    assert run.seconds_left() == pytest.approx(100 + 30 * pace, abs=1)
    finish(plan, left, 1000)
    finish(plan, right, 20)
    run.poll()
    assert run.seconds_left() == pytest.approx(30 * (20 + 1000 + 20 + 30) / (10 + 100 + 20 + 30), abs=1)


def test_the_last_line_of_a_log(tmp_path: Path) -> None:
    plan = diamond(tmp_path)
    assert last_log_line(plan, plan.steps[0]) == ""
    (tmp_path / "logs").mkdir()
    log = tmp_path / plan.steps[0].log
    log.write_bytes(b"x" * 5000 + b"\nloading\n 10%|#   |\r 20%|##  |\n\n")
    assert last_log_line(plan, plan.steps[0]) == "20%|##  |" and log_tail(plan, plan.steps[0], 2)[0] == "10%|#   |"
    log.write_bytes("ä".encode() * 3000)  # cut within a character
    assert 0 < len(last_log_line(plan, plan.steps[0])) < 100
