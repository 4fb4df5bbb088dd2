"""Checks of base, experts and resources before any work: each fault is named in one line."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fin_plugins.common.errors import FinError
from fin_plugins.merging import merge_inputs
from fin_plugins.merging.checkpoints import read_checkpoint
from fin_plugins.merging.merge_inputs import check_resources, read_merge_inputs, required_disk
from tests.merging.model_factories import ADAPTER_CONFIG, SIZES, change_config, make_base


@pytest.fixture
def expert(tmp_path: Path, checkpoints: dict[str, Path]) -> Path:
    return Path(shutil.copytree(checkpoints["one"], tmp_path / "expert"))


def read_error(base: Path, *experts: Path | str, any_base: bool = False) -> str:
    """The error of reading these experts: folders, or values of `--expert`."""
    flags = [flag if isinstance(flag, str) else f"e{number}={flag}" for number, flag in enumerate(experts)]
    with pytest.raises(FinError) as error:
        read_merge_inputs(str(base), flags, any_base=any_base)
    return str(error.value)


def test_adapters_and_checkpoints_are_distinguished(
    base: Path, adapters: dict[str, Path], checkpoints: dict[str, Path]
) -> None:
    inputs = read_merge_inputs(str(base), [f"a={adapters['a']}", f"one={checkpoints['one']}"])
    assert [expert.is_adapter for expert in inputs.models.experts] == [True, False]
    assert inputs.models.layers == 4 and inputs.models.dtype == "float32"
    assert inputs.largest_changed == inputs.base.tensors["lm_head.weight"].size
    assert read_merge_inputs(str(base), [f"a={adapters['a']}"]).largest_changed == 32 * 48


@pytest.mark.parametrize("flag", ["nameless", "=x", "a b=x", "a="])
def test_an_expert_is_a_name_and_a_path(flag: str, base: Path) -> None:
    message = read_error(base, flag)
    assert message.startswith(f"--expert {flag}: ") and "NAME=PATH" in message


def test_names_and_folders_are_given_once(base: Path, checkpoints: dict[str, Path]) -> None:
    one, two = checkpoints["one"], checkpoints["two"]
    assert "the same name" in read_error(base, f"a={one}", f"a={two}")
    assert "the same folder as expert a" in read_error(base, f"a={one}", f"b={one}")


def test_missing_models_are_named(base: Path, tmp_path: Path) -> None:
    assert "expert x: org/model" in read_error(base, "x=org/model")
    (tmp_path / "empty").mkdir()
    assert "has no config.json" in read_error(base, tmp_path / "empty")
    assert read_error(tmp_path / "empty", tmp_path / "empty").startswith("base: ")
    assert read_error(tmp_path / "none", tmp_path / "empty").startswith("--base ")


def test_pickles_are_refused(base: Path, expert: Path) -> None:
    (expert / "model.safetensors").rename(expert / "pytorch_model.bin")
    assert "pickles" in read_error(base, expert)


def test_a_missing_shard_is_named(base: Path, expert: Path) -> None:
    index = {"weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors"}}
    (expert / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert "lists ['model-00001-of-00002.safetensors']" in read_error(base, expert)


def test_a_broken_weight_file_is_named(base: Path, expert: Path) -> None:
    (expert / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    assert "model.safetensors cannot be read" in read_error(base, expert)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json", "tokenizer.json"])
def test_a_deeply_nested_file_is_named(base: Path, expert: Path, name: str) -> None:
    (expert / name).write_text("[" * 100_000, encoding="utf-8")
    assert f"{name} cannot be read" in read_error(base, expert)


def test_quantized_models_are_refused(base: Path, expert: Path) -> None:
    change_config(expert / "config.json", quantization_config={"quant_method": "awq"})
    assert "is quantized" in read_error(base, expert)


def test_another_architecture_is_refused(base: Path, tmp_path: Path, tiny_models: dict[str, Path]) -> None:
    other = make_base(tmp_path / "qwen", tiny_models["llama3"], "Qwen2")
    message = read_error(base, other)
    assert "architectures is ['Qwen2ForCausalLM']" in message and "['LlamaForCausalLM']" in message


def test_other_tensors_are_named(base: Path, expert: Path) -> None:
    tensors = load_file(expert / "model.safetensors")
    tensors["extra.weight"] = tensors.pop("lm_head.weight")
    tensors["model.norm.weight"] = torch.ones(SIZES["hidden_size"] + 1)
    save_file(tensors, expert / "model.safetensors", metadata={"format": "pt"})
    first, *messages = read_error(base, expert).splitlines()
    assert first == "3 problems"
    for message, facts in zip(
        sorted(messages, key=len), (("(33,)", "(32,)"), ("lm_head.weight",), ("extra.weight",)), strict=True
    ):
        assert all(fact in message for fact in facts)


def test_another_vocabulary_is_refused(base: Path, expert: Path) -> None:
    content = json.loads((expert / "tokenizer.json").read_text(encoding="utf-8"))
    # The same vocabulary in another format is the same.
    (expert / "tokenizer.json").write_text(json.dumps({**content, "padding": None}, indent=7), encoding="utf-8")
    read_merge_inputs(str(base), [f"e={expert}"])
    content["added_tokens"].append({**content["added_tokens"][-1], "content": "<new>", "id": 300})
    (expert / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    assert "added tokens" in read_error(base, expert)


def test_an_adapter_of_another_base_is_refused(base: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    moved = Path(shutil.copytree(adapters["a"], tmp_path / "moved"))
    change_config(moved / ADAPTER_CONFIG, base_model_name_or_path="org/another-model")
    message = read_error(base, moved)
    assert "org/another-model" in message and f"--base {base}" not in message
    assert read_merge_inputs(str(base), [f"e={moved}"], any_base=True).models.experts[0].is_adapter


def test_an_adapter_that_does_not_fit_is_refused(
    adapters: dict[str, Path], tmp_path: Path, tiny_models: dict[str, Path]
) -> None:
    wider = make_base(tmp_path / "wider", tiny_models["llama3"], hidden_size=48)
    assert "a matrix of" in read_error(wider, adapters["a"], any_base=True)


def test_all_faults_are_reported_at_once(base: Path, expert: Path, tmp_path: Path) -> None:
    (expert / "config.json").unlink()
    message = read_error(base, expert, f"b={tmp_path / 'none'}", "c")
    assert message.startswith("3 problems\n") and len(message.splitlines()) == 4


def test_paths_that_mergekit_would_split_are_refused(checkpoints: dict[str, Path], base: Path, tmp_path: Path) -> None:
    odd = Path(shutil.copytree(checkpoints["one"], tmp_path / "a+b"))
    assert "splits paths" in read_error(base, odd)


def test_resources_are_checked(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = read_checkpoint("base", base)
    check_resources(checkpoint, 99, 2, "float32", tmp_path / "not" / "there")
    peft_experts = required_disk(checkpoint, "bfloat16", 2) - required_disk(checkpoint, "bfloat16")
    assert peft_experts == 2 * 4 * checkpoint.size
    with pytest.raises(FinError, match=r"--out .* GB are free"):
        check_resources(checkpoint, 99, 2, "float32", tmp_path / "out", peft_experts=1 << 40)
    monkeypatch.setattr(merge_inputs, "available_memory", lambda: 1 << 20)
    with pytest.raises(FinError, match="of memory, and 1 MB are free"):
        check_resources(checkpoint, 99, 2, "float32", tmp_path)
