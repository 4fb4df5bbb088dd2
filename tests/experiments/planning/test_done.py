"""What is done stays done; what a change opens is run again, beside nothing that need not be."""

from itertools import pairwise
from pathlib import Path

import pytest

from fin_plugins.experiments.steps import Plan
from tests.experiments.planning.worlds import World


@pytest.fixture
def finished(world: World) -> World:
    world.finish(world.plan().steps)
    return world


def names(plan: Plan) -> list[str]:
    return [step.name for step in plan.to_do()]


def adapters(plan: Plan, name: str = "score-m") -> list[str]:
    (command,) = [step.command for step in plan.steps if step.name == name]
    return [word.partition("=")[0] for flag, word in pairwise(command) if flag == "--adapter"]


def test_all_is_done(finished: World) -> None:
    assert not names(finished.plan())
    assert adapters(finished.plan()) == ["head", "let", "multi", "both"]


def test_one_more_training_is_scored_alone(finished: World) -> None:
    finished.said["training"]["more"] = {**finished.said["training"]["multi"], "file": "single_fomc"}
    plan = finished.plan()
    assert names(plan) == ["train-m-more", "score-m", "board-m"]
    assert adapters(plan) == ["more"] and adapters(plan, "score-m-before") == ["head", "let", "multi", "both"]
    (open_one,) = [step for step in plan.steps if step.name == "score-m"]
    assert "--no-base" in open_one.command and len(open_one.markers) == 1


def test_a_changed_training_reaches_its_merges_and_no_other_model(finished: World) -> None:
    (finished.root / "letters_training.yaml").open("a").write("learning_rate: 3e-4\n")
    plan = finished.plan()
    wanted = ["train-m-let", "merge-m-both", "merge-m-dense", "score-m", "score-m-dense", "board-m"]
    assert names(plan) == wanted and adapters(plan) == ["let", "both"]


def test_back_to_what_was_is_done_already(finished: World) -> None:
    finished.edit(finished.root / "letters_training.yaml", "model: demo", "model: demo\nepochs: 1")
    finished.finish(finished.plan().steps)
    finished.edit(finished.root / "letters_training.yaml", "model: demo\nepochs: 1", "model: demo")
    assert not names(finished.plan())


@pytest.mark.parametrize(
    ("lost", "opened"),
    [
        ("written/m-multi-*", ["score-m", "board-m"]),
        ("done/score-m-multi-*", ["score-m", "board-m"]),
        ("train/multi-*/train.json", ["train-m-multi", "score-m", "board-m"]),
        ("merged/dense-*/merge.json", ["merge-m-dense", "score-m-dense", "board-m"]),
        ("board/*/index.html", ["board-m"]),
    ],
)
def test_what_is_lost_is_made_again(lost: str, opened: list[str], finished: World) -> None:
    (file,) = finished.work.glob(lost)
    file.unlink()
    plan = finished.plan()
    assert names(plan) == opened
    if "score-m" in opened:
        assert adapters(plan) == ["multi"]


def test_an_interrupted_step_is_the_same_step_again(world: World) -> None:
    plan = world.plan()
    world.finish(tuple(step for step in plan.steps if step.kind == "train"))
    again = world.plan()
    assert [step.key for step in again.steps] == [step.key for step in plan.steps]
    assert names(again) == ["merge-m-both", "merge-m-dense", "score-m", "score-m-dense", "board-m"]


def test_planning_writes_nothing(world: World, tmp_path: Path) -> None:
    world.plan()
    assert not world.work.exists()
