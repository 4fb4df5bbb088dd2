"""NaN and infinity are errors that name model and task; nothing of them is cached or written."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fin_plugins.common.errors import FinError
from tests.evaluation.eval_workspace import EvalWorkspace

pytestmark = pytest.mark.usefixtures("quick")


def _corrupt(file: Path, name: str, change: Callable[[Any], object]) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(file)
    (full_name,) = [key for key in tensors if key.endswith(name)]
    change(tensors[full_name])
    save_file(tensors, file, metadata={"format": "pt"})


def _output_files(workspace: EvalWorkspace) -> set[str]:
    """Result, sample and answer files."""
    return {name for name in workspace.files() if "results_" in name or "samples_" in name or "units" in name}


@pytest.mark.parametrize(("value", "task"), [(math.nan, "first"), (math.inf, "first"), (math.nan, "reply")])
def test_a_base_with_nan_weights_has_no_result(value: float, task: str, workspace: EvalWorkspace) -> None:
    before = _output_files(workspace)
    _corrupt(workspace.base / "model.safetensors", "model.norm.weight", lambda weight: weight.fill_(value))
    with pytest.raises(FinError, match=rf"{workspace.base} · {task}: .*not finite"):
        workspace.run(tasks=task)
    assert _output_files(workspace) == before


def test_an_adapter_with_nan_weights_has_no_result(workspace: EvalWorkspace) -> None:
    before = _output_files(workspace)
    _corrupt(
        workspace.adapter("one") / "adapter_model.safetensors",
        "layers.1.self_attn.q_proj.lora_B.weight",
        lambda weight: weight.fill_(math.nan),
    )
    with pytest.raises(FinError, match=r"adapter one: .*not finite"):
        workspace.run(*workspace.flags("one"), tasks="first")
    assert _output_files(workspace) == before


def test_one_document_with_nan_is_counted(workspace: EvalWorkspace) -> None:
    from transformers import AutoTokenizer

    workspace.change_row(text="Q rose.")
    before = _output_files(workspace)
    (token,) = AutoTokenizer.from_pretrained(workspace.base).encode("Q", add_special_tokens=False)
    _corrupt(workspace.base / "model.safetensors", "embed_tokens.weight", lambda weight: weight[token].fill_(math.nan))
    with pytest.raises(FinError, match="first: the log-likelihoods of 1 of 4 documents are not finite"):
        workspace.run(tasks="first")
    assert _output_files(workspace) == before


def test_a_nan_metric_is_not_written(workspace: EvalWorkspace) -> None:
    file = workspace.root / "tasks" / "odd.yaml"
    file.write_text(
        "task: odd\ncustom_dataset: !function rows.load\noutput_type: multiple_choice\ntest_split: test\n"
        'doc_to_text: "{{text}}"\ndoc_to_choice: "{{choices}}"\ndoc_to_target: gold\n'
        "metric_list: [{metric: acc, aggregation: !function odd.mean, higher_is_better: true}]\n"
    )
    file.with_suffix(".py").write_text("def mean(values): return float('nan')\n", encoding="utf-8")
    before = set(workspace.output.rglob("results_*")) | set(workspace.output.rglob("samples_*"))
    with pytest.raises(FinError, match="base · odd: the metric acc is nan"):
        workspace.run(tasks="odd")
    assert set(workspace.output.rglob("results_*")) | set(workspace.output.rglob("samples_*")) == before


def test_one_document_has_results_without_standard_errors(workspace: EvalWorkspace) -> None:
    workspace.run("--limit", "1")
    results = workspace.results("base")["results"]["first"]
    assert results["sample_len"] == 1 and 0 <= results["acc,none"] <= 1
