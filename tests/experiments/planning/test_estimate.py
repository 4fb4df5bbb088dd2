"""Estimates: from what was measured here, else from the rough table, else what the experiment allows."""

import json

from fin_plugins.experiments.planning.estimate import estimate, marked, together
from fin_plugins.experiments.planning.told import told
from fin_plugins.experiments.steps import of_kind
from tests.experiments.planning.worlds import World


def test_before_anything_has_run(world: World) -> None:
    found = estimate(world.plan())
    assert {one.basis for one in found.values()} == {"rough"}
    assert found["score-m"].seconds > found["score-m-dense"].seconds > 0
    rank = 16  # PEFT writes two factors of float32 for the one matrix of 8 by 4
    assert found["train-m-head"].bytes == rank * (8 + 4) * 4
    assert found["merge-m-both"].bytes == 2 * rank * (8 + 4) * 4
    assert found["merge-m-dense"].bytes == (world.model / "model.safetensors").stat().st_size


def test_larger_models_and_gpus(world: World) -> None:
    found = estimate(world.plan(resources={"train": {"gpus": 1, "hours": 3}}))
    assert (found["train-m-head"].basis, found["train-m-head"].seconds) == ("limit", 3 * 3600)
    assert found["score-m"].basis == "rough"
    plan = world.plan(models={"m": "org/not-here"}, resources={"train": {"hours": 3}})
    found = estimate(plan)
    assert (found["train-m-head"].basis, found["train-m-head"].bytes) == ("limit", 0)
    assert found["board-m"].basis == "rough" and found["board-m"].seconds < 60
    assert "< at most" in told(plan) and "models that are not on this machine" in told(plan)


def test_one_core_is_slower_and_two_steps_run_at_once(world: World) -> None:
    def trains(cores: int) -> tuple[float, float]:
        plan = world.plan(resources={"train": {"cores": cores}})
        seconds = {name: one.seconds for name, one in estimate(plan).items()}
        steps = of_kind(plan.steps, "train")
        return sum(seconds[step.name] for step in steps), together(steps, seconds, 2)

    (both, after), (one, beside) = trains(2), trains(1)
    assert both == after < one
    assert one / 2 <= beside < one


def test_steps_that_have_run_tell_of_the_others(world: World) -> None:
    plan = world.plan()
    head = plan.steps[0]
    world.finish((head,))
    record = {"step": head.name, "kind": "train", "key": head.key, "seconds": 500.0, "rows": head.rows, "started": "x"}
    (world.work / head.markers[0]).write_text(json.dumps(record))
    (world.work / "done" / "broken.json").write_text("{")
    assert marked(plan) == [record]
    found = estimate(world.plan())
    assert (found["train-m-head"].seconds, found["train-m-head"].basis) == (500.0, "measured")
    both, one = found["train-m-multi"], found["train-m-let"]
    assert both.basis == one.basis == "measured"
    assert both.seconds > 1.5 * one.seconds and 300 < one.seconds < 700  # twice the rows
    assert found["score-m"].basis == "rough"


def test_told(world: World) -> None:
    plan = world.plan()
    world.finish(plan.steps[:1])
    text = told(plan, commands=True)
    assert text.startswith(f"test: 7 of 8 steps to do, in {world.work}")
    (trains,) = [line.split() for line in text.splitlines() if line.startswith("train ")]
    assert trains[1:4] == ["2", "1", "0"]
    assert "        done  train-m-head" in text and "* by a rough table" in text
    assert "fin train" in text and "fin train" not in told(plan)
    assert "side by side" not in text and "side by side on 2 cores" in told(plan, cores=2)
    data = json.loads(told(plan, as_json=True))
    assert (data["to_do"], data["engines"], len(data["steps"])) == (7, 2, 8)
    assert data["steps"][0]["done"] and data["steps"][-1]["command"][:2] == ["fin", "board"]
