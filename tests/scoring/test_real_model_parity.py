"""`fin_hf` on the real demo model and real tasks, through lm-eval's evaluation, against stock `hf`."""

from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from fin_plugins.common.locations import task_folder
from fin_plugins.scoring.fin_hf import FinHF
from tests.scoring.factories import close


def evaluate(model: HFLM, task: str, limit: int) -> dict[str, Any]:
    return simple_evaluate(
        model=model,
        tasks=[task],
        limit=limit,
        task_manager=TaskManager(include_path=str(task_folder()), include_defaults=False),
        apply_chat_template=True,
        log_samples=True,
        bootstrap_iters=0,
    )


@pytest.fixture(scope="module")
def models(demo_model_path: Path) -> tuple[FinHF, HFLM]:
    ours, stock = (
        kind(pretrained=str(demo_model_path), dtype="float32", device="cpu", batch_size=4) for kind in (FinHF, HFLM)
    )
    return ours, stock


def check_parity(models: tuple[FinHF, HFLM], task: str, limit: int) -> None:
    ours, stock = (evaluate(model, task, limit) for model in models)
    assert ours["results"] == stock["results"]
    for our_sample, expected in zip(ours["samples"][task], stock["samples"][task], strict=True):
        assert our_sample["arguments"] == expected["arguments"]
        assert close(our_sample["filtered_resps"], expected["filtered_resps"])
    assert not models[0].fallback_reasons
    assert ours["config"]["fin"] == {"truncated": {}, "pruned": False}


def test_parity_with_stock_hf(sample_data: None, models: tuple[FinHF, HFLM]) -> None:
    check_parity(models, "fin_fomc", 2)


def test_parity_on_twenty_nine_labels(sample_data: None, models: tuple[FinHF, HFLM]) -> None:
    ours, stock = models
    samples = evaluate(ours, "fin_finred", 2)["samples"]["fin_finred"]
    assert all(len(sample["arguments"]) == 29 for sample in samples)
    answers = [
        (Instance("loglikelihood", {}, sample["arguments"][label], label), sample["filtered_resps"][label])
        for sample, labels in zip(samples, ([0, 14, 28], [1]), strict=True)  # stock takes a second and more for each
        for label in labels
    ]
    requests, scores = zip(*answers, strict=True)
    assert close(scores, stock.loglikelihood(list(requests), disable_tqdm=True))
    assert not ours.fallback_reasons


@pytest.mark.prove
@pytest.mark.parametrize("task", ["fin_fomc", "fin_finred", "fin_headline", "fin_causal"])
def test_parity_on_twelve_sample_rows(sample_data: None, models: tuple[FinHF, HFLM], task: str) -> None:
    check_parity(models, task, 12)
