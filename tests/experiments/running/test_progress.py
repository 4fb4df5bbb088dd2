"""What is said of a run while it goes on."""

import time
from pathlib import Path

import pytest

from fin_plugins.experiments.running import state
from fin_plugins.experiments.running.progress import Lines, Watch, last_line, shown, tail
from fin_plugins.experiments.steps import Plan, Step
from tests.experiments.running.plans import diamond, step

SECONDS = {"first": 10.0, "left": 100.0, "right": 20.0, "last": 30.0}


def finish(plan: Plan, step: Step, seconds: float) -> None:
    state.clear(plan, step, state.RUNNING)
    for path in step.outputs:
        (plan.work / path).parent.mkdir(exist_ok=True)
        (plan.work / path).touch()
    for path in step.markers:
        state.write_json(plan.work / path, {"seconds": seconds})


def start(plan: Plan, step: Step, ago: float = 0) -> None:
    state.write(plan, step, state.RUNNING, {"started": time.time() - ago, "host": "here", "group": 0})


def test_what_happens_is_said_once(tmp_path: Path) -> None:
    plan = diamond(tmp_path)
    watch = Watch(plan, SECONDS, 2)
    assert watch.look() == [] and watch.count() == "0/4"
    start(plan, plan.steps[0])
    assert watch.look() == ["first started"] and watch.look() == []
    finish(plan, plan.steps[0], 10)
    start(plan, plan.steps[1])
    assert watch.look() == ["left started", "first done in 10 s"] and watch.count() == "1/4"
    (tmp_path / plan.steps[1].log).parent.mkdir()
    (tmp_path / plan.steps[1].log).write_text("# 2026-01-01 00:00 UTC: fin\nfin: error: no\n")
    state.clear(plan, plan.steps[1], state.RUNNING)
    state.write(plan, plan.steps[1], state.FAILED, {"why": "it ended with exit status 1", "seconds": 3})
    assert watch.look() == ["left FAILED after 3 s: it ended with exit status 1: fin: error: no"]
    assert watch.look() == [] and watch.seen == {"first", "left"}


def test_what_an_earlier_plan_s_step_says_counts_for_nothing(tmp_path: Path) -> None:
    other = step("first", key="ba9876543210")
    start(Plan("demo", tmp_path, (other,)), other)
    assert Watch(diamond(tmp_path), SECONDS, 2).look() == []


def test_time_left_is_the_longest_chain_or_all_work_over_the_cores(tmp_path: Path) -> None:
    plan = diamond(tmp_path)
    assert Watch(plan, SECONDS, 4).left() == pytest.approx(10 + 100 + 30)
    assert Watch(plan, SECONDS, 1).left() == pytest.approx(10 + 100 + 20 + 30)
    assert Watch(plan, {"first": 1.0}, 4).left() is None  # nothing is known of the others


def test_time_left_follows_the_pace_of_the_steps_that_ended(tmp_path: Path) -> None:
    plan = diamond(tmp_path)
    watch = Watch(plan, SECONDS, 4)
    finish(plan, plan.steps[0], 20)  # twice as long as expected, but it is a short one of many
    start(plan, plan.steps[1], ago=50)
    watch.look()
    pace = (20 + 150) / (10 + 150)
    assert watch.left() == pytest.approx(100 * pace - 50 + 30 * pace, abs=1)
    start(plan, plan.steps[1], ago=1000)
    watch.look()
    assert watch.left() == pytest.approx(100 + 30 * pace, abs=1)
    finish(plan, plan.steps[1], 1000)
    finish(plan, plan.steps[2], 20)
    watch.look()
    assert watch.left() == pytest.approx(30 * (20 + 1000 + 20 + 30) / (10 + 100 + 20 + 30), abs=1)


def test_the_last_line_of_a_log(tmp_path: Path) -> None:
    plan = diamond(tmp_path)
    assert last_line(plan, plan.steps[0]) == ""
    (tmp_path / "logs").mkdir()
    log = tmp_path / plan.steps[0].log
    log.write_bytes(b"x" * 5000 + b"\nloading\n 10%|#   |\r 20%|##  |\n\n")
    assert last_line(plan, plan.steps[0]) == "20%|##  |" and tail(plan, plan.steps[0], 2)[0] == "10%|#   |"
    log.write_bytes("ä".encode() * 3000)  # cut within a letter
    assert len(last_line(plan, plan.steps[0])) == 60


def test_without_a_terminal_it_is_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with shown(Watch(diamond(tmp_path), SECONDS, 1)) as display:
        assert isinstance(display, Lines)
        display.tell(["first started"])
    assert capsys.readouterr().err == "fin run: [0/4] first started, about 3 min left\n"
