"""What is not a number is an error that names model and task; nothing of it is stored or written."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.scoring.finite import check_metrics
from tests.evaluation.running import World

pytestmark = pytest.mark.usefixtures("quick")


def _spoil(file: Path, name: str, change: Callable[[Any], object]) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(file)
    (found,) = [one for one in tensors if one.endswith(name)]
    change(tensors[found])
    save_file(tensors, file, metadata={"format": "pt"})


def _held(world: World) -> set[str]:
    """Result, sample and answer files."""
    return {name for name in world.files() if "results_" in name or "samples_" in name or "units" in name}


@pytest.mark.parametrize("task", ["first", "reply"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_base_with_weights_that_are_no_numbers_has_no_result(value: float, task: str, world: World) -> None:
    before = _held(world)
    _spoil(world.base / "model.safetensors", "model.norm.weight", lambda weight: weight.fill_(value))
    with pytest.raises(FinError, match=rf"{world.base} · {task}: .*not finite"):
        world.run(tasks=task)
    assert _held(world) == before


def test_an_adapter_with_weights_that_are_no_numbers_has_no_result(world: World) -> None:
    before = _held(world)
    _spoil(
        world.adapter("one") / "adapter_model.safetensors",
        "layers.1.self_attn.q_proj.lora_B.weight",
        lambda weight: weight.fill_(math.nan),
    )
    with pytest.raises(FinError, match=r"adapter one: .*not finite"):
        world.run(*world.flags("one"), tasks="first")
    assert _held(world) == before


def test_one_spoilt_document_is_counted(world: World) -> None:
    from transformers import AutoTokenizer

    world.change_row(text="Q rose.")
    before = _held(world)
    (token,) = AutoTokenizer.from_pretrained(world.base).encode("Q", add_special_tokens=False)
    _spoil(world.base / "model.safetensors", "embed_tokens.weight", lambda weight: weight[token].fill_(math.nan))
    with pytest.raises(FinError, match="first: the log-likelihoods of 1 of 4 documents are not finite"):
        world.run(tasks="first")
    assert _held(world) == before


def test_a_metric_that_is_no_number_is_not_written(world: World) -> None:
    file = world.root / "tasks" / "odd.yaml"
    file.write_text(
        "task: odd\ncustom_dataset: !function rows.load\noutput_type: multiple_choice\ntest_split: test\n"
        'doc_to_text: "{{text}}"\ndoc_to_choice: "{{choices}}"\ndoc_to_target: gold\n'
        "metric_list: [{metric: acc, aggregation: !function odd.mean, higher_is_better: true}]\n"
    )
    file.with_suffix(".py").write_text("def mean(values): return float('nan')\n", encoding="utf-8")
    before = set(world.output.rglob("results_*")) | set(world.output.rglob("samples_*"))
    with pytest.raises(FinError, match="base · odd: the metric acc is nan"):
        world.run(tasks="odd")
    assert set(world.output.rglob("results_*")) | set(world.output.rglob("samples_*")) == before


def test_a_standard_error_that_is_no_number_is_no_matter() -> None:
    check_metrics("base", {"t": {"acc,none": 0.5, "acc_stderr,none": math.nan, "alias": "t", "n": 3}})  # type: ignore[dict-item]
    with pytest.raises(FinError, match="base · t: the metric acc is inf"):
        check_metrics("base", {"t": {"acc,none": math.inf}})


def test_one_document_has_results_though_no_standard_errors(world: World) -> None:
    world.run("--limit", "1")
    results = world.results("base")["results"]["first"]
    assert results["sample_len"] == 1 and 0 <= results["acc,none"] <= 1
