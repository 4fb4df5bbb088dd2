"""Estimates: measured in this work folder, else from the table of rates, else the limit that the experiment sets."""

import json

from fin_plugins.experiments.step_estimates import estimate_steps, makespan, read_markers
from fin_plugins.experiments.step_plan import of_kind
from tests.experiments.experiment_factories import ExperimentFolder


def test_before_anything_has_run(folder: ExperimentFolder) -> None:
    estimates = estimate_steps(folder.plan())
    assert {estimate.basis for estimate in estimates.values()} == {"rough"}
    assert estimates["score-m"].seconds > estimates["score-m-dense"].seconds > 0
    rank = 16  # PEFT writes two factors of float32 for the one matrix of 8 by 4
    assert estimates["train-m-head"].bytes == rank * (8 + 4) * 4
    assert estimates["merge-m-both"].bytes == 2 * rank * (8 + 4) * 4
    assert estimates["merge-m-dense"].bytes == (folder.model / "model.safetensors").stat().st_size


def test_larger_models_and_gpus(folder: ExperimentFolder) -> None:
    estimates = estimate_steps(folder.plan(resources={"train": {"gpus": 1, "hours": 3}}))
    assert (estimates["train-m-head"].basis, estimates["train-m-head"].seconds) == ("limit", 3 * 3600)
    assert estimates["score-m"].basis == "rough"
    plan = folder.plan(models={"m": "org/not-here"}, resources={"train": {"hours": 3}})
    estimates = estimate_steps(plan)
    assert (estimates["train-m-head"].basis, estimates["train-m-head"].bytes) == ("limit", 0)
    assert estimates["board-m"].basis == "rough" and estimates["board-m"].seconds < 60


def test_one_core_is_slower_and_two_steps_run_at_once(folder: ExperimentFolder) -> None:
    def training_seconds(cores: int) -> tuple[float, float]:
        plan = folder.plan(resources={"train": {"cores": cores}})
        seconds = {name: estimate.seconds for name, estimate in estimate_steps(plan).items()}
        steps = of_kind(plan.steps, "train")
        return sum(seconds[step.name] for step in steps), makespan(steps, seconds, 2)

    (two_core_total, two_core_span), (one_core_total, one_core_span) = training_seconds(2), training_seconds(1)
    assert two_core_total == two_core_span < one_core_total
    assert one_core_total / 2 <= one_core_span < one_core_total


def test_measured_steps_improve_the_estimates_of_others(folder: ExperimentFolder) -> None:
    plan = folder.plan()
    head = plan.steps[0]
    folder.finish((head,))
    record = {"step": head.name, "kind": "train", "key": head.key, "seconds": 500.0, "rows": head.rows, "started": "x"}
    (folder.work / head.markers[0]).write_text(json.dumps(record))
    (folder.work / "done" / "broken.json").write_text("{")
    assert read_markers(plan) == [record]
    estimates = estimate_steps(folder.plan())
    assert (estimates["train-m-head"].seconds, estimates["train-m-head"].basis) == (500.0, "measured")
    twice_the_rows, once = estimates["train-m-multi"], estimates["train-m-let"]
    assert twice_the_rows.basis == once.basis == "measured"
    assert twice_the_rows.seconds > 1.5 * once.seconds and 300 < once.seconds < 700
    assert estimates["score-m"].basis == "rough"
