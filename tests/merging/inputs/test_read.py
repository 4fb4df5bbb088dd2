"""Checks of base and experts before any work: each has one line that says what is wrong."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fin_plugins.common.errors import FinError
from fin_plugins.merging.inputs import resources
from fin_plugins.merging.inputs.checkpoint import read_checkpoint
from fin_plugins.merging.inputs.read import read_inputs
from tests.merging.inputs_made import SIZES, make_base


@pytest.fixture
def expert(tmp_path: Path, checkpoints: dict[str, Path]) -> Path:
    return Path(shutil.copytree(checkpoints["one"], tmp_path / "expert"))


def changed(file: Path, **values: Any) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**content, **values}), encoding="utf-8")


def said(base: Path, *experts: Path | str, any_base: bool = False) -> str:
    flags = [flag if isinstance(flag, str) else f"e{number}={flag}" for number, flag in enumerate(experts)]
    with pytest.raises(FinError) as error:
        read_inputs(str(base), flags, any_base=any_base)
    return str(error.value)


def test_adapters_and_checkpoints_are_told_apart(
    base: Path, adapters: dict[str, Path], checkpoints: dict[str, Path]
) -> None:
    inputs = read_inputs(str(base), [f"a={adapters['a']}", f"one={checkpoints['one']}"])
    assert [expert.is_adapter for expert in inputs.models.experts] == [True, False]
    assert inputs.models.layers == 4 and inputs.models.dtype == "float32"
    assert inputs.largest_changed == inputs.base.tensors["lm_head.weight"].size
    assert read_inputs(str(base), [f"a={adapters['a']}"]).largest_changed == 32 * 48


@pytest.mark.parametrize("flag", ["nameless", "=x", "a b=x", "a="])
def test_an_expert_is_a_name_and_a_path(flag: str, base: Path) -> None:
    assert said(base, flag).startswith(f"--expert {flag}: should be NAME=PATH")


def test_names_and_folders_are_given_once(base: Path, checkpoints: dict[str, Path]) -> None:
    one, two = checkpoints["one"], checkpoints["two"]
    assert "the same name, given twice" in said(base, f"a={one}", f"a={two}")
    assert "the same folder as expert a, given twice" in said(base, f"a={one}", f"b={one}")


def test_what_is_not_there_is_named(base: Path, tmp_path: Path) -> None:
    assert "expert x: org/model is no folder here" in said(base, "x=org/model")
    (tmp_path / "empty").mkdir()
    assert "has no config.json: give the folder of a model" in said(base, tmp_path / "empty")
    assert said(tmp_path / "empty", tmp_path / "empty").startswith("base: ")
    assert said(tmp_path / "none", tmp_path / "empty").startswith("--base ")


def test_pickles_are_refused(base: Path, expert: Path) -> None:
    (expert / "model.safetensors").rename(expert / "pytorch_model.bin")
    assert "has its weights in Python pickles only" in said(base, expert)


def test_a_missing_shard_is_named(base: Path, expert: Path) -> None:
    index = {"weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors"}}
    (expert / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert "names ['model-00001-of-00002.safetensors'] files: download the model again" in said(base, expert)


def test_a_broken_file_is_named(base: Path, expert: Path) -> None:
    (expert / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    assert "model.safetensors cannot be read" in said(base, expert)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json", "tokenizer.json"])
def test_a_file_of_brackets_alone_is_named(base: Path, expert: Path, name: str) -> None:
    (expert / name).write_text("[" * 100_000, encoding="utf-8")
    assert f"{name} cannot be read" in said(base, expert)


def test_quantised_models_are_refused(base: Path, expert: Path) -> None:
    changed(expert / "config.json", quantization_config={"quant_method": "awq"})
    assert "is quantised" in said(base, expert)


def test_another_architecture_is_refused(base: Path, tmp_path: Path, tiny_models: dict[str, Path]) -> None:
    other = make_base(tmp_path / "qwen", tiny_models["llama3"], "Qwen2")
    assert "architectures is ['Qwen2ForCausalLM'], and the base's ['LlamaForCausalLM']" in said(base, other)


def test_other_tensors_are_named(base: Path, expert: Path) -> None:
    tensors = load_file(expert / "model.safetensors")
    tensors["extra.weight"] = tensors.pop("lm_head.weight")
    tensors["model.norm.weight"] = torch.ones(SIZES["hidden_size"] + 1)
    save_file(tensors, expert / "model.safetensors", metadata={"format": "pt"})
    message = said(base, expert)
    assert message.startswith("3 problems\n")
    assert "lacks tensors of the base: lm_head.weight" in message
    assert "has tensors that the base has not: extra.weight" in message
    assert "model.norm.weight has the shape (33,), the base's (32,)" in message


def test_another_vocabulary_is_refused(base: Path, expert: Path) -> None:
    content = json.loads((expert / "tokenizer.json").read_text(encoding="utf-8"))
    # The same vocabulary written otherwise is the same.
    (expert / "tokenizer.json").write_text(json.dumps({**content, "padding": None}, indent=7), encoding="utf-8")
    read_inputs(str(base), [f"e={expert}"])
    content["added_tokens"].append({**content["added_tokens"][-1], "content": "<new>", "id": 300})
    (expert / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    assert "differs from the base's in its added tokens" in said(base, expert)


def test_an_adapter_of_another_base_is_refused(base: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    moved = Path(shutil.copytree(adapters["a"], tmp_path / "moved"))
    changed(moved / "adapter_config.json", base_model_name_or_path="org/another-model")
    message = said(base, moved)
    assert "was trained on org/another-model" in message and f"--base {base}" not in message
    assert read_inputs(str(base), [f"e={moved}"], any_base=True).models.experts[0].is_adapter


def test_an_adapter_that_does_not_fit_is_refused(adapters: dict[str, Path], tmp_path: Path, tiny_models: Any) -> None:
    wider = make_base(tmp_path / "wider", tiny_models["llama3"], hidden_size=48)
    assert "a matrix of" in said(wider, adapters["a"], any_base=True)


def test_all_faults_are_said_at_once(base: Path, expert: Path, tmp_path: Path) -> None:
    (expert / "config.json").unlink()
    message = said(base, expert, f"b={tmp_path / 'none'}", "c")
    assert message.startswith("3 problems\n") and len(message.splitlines()) == 4


def test_paths_that_mergekit_would_split_are_refused(checkpoints: dict[str, Path], base: Path, tmp_path: Path) -> None:
    odd = Path(shutil.copytree(checkpoints["one"], tmp_path / "a+b"))
    assert "mergekit splits paths at + and @" in said(base, odd)


def test_room_is_checked_before_any_work(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = read_checkpoint("base", base)
    resources.check_resources(checkpoint, 99, 2, "float32", tmp_path / "not" / "there")
    for_peft = resources.disk_needed(checkpoint, "bfloat16", 2) - resources.disk_needed(checkpoint, "bfloat16")
    assert for_peft == 2 * 4 * checkpoint.size
    monkeypatch.setattr(resources, "available_memory", lambda: 1 << 20)
    with pytest.raises(FinError, match="of memory are free, and this merge takes"):
        resources.check_resources(checkpoint, 99, 2, "float32", tmp_path)
    monkeypatch.setattr(resources, "disk_needed", lambda *_: 1 << 60)
    with pytest.raises(FinError, match="are free there, and the result takes 11529215"):
        resources.check_resources(checkpoint, 99, 2, "float32", tmp_path / "out")
