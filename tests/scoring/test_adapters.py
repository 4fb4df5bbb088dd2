"""Adapter folders, `--adapter` flags, and the vLLM arguments for adapters."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from fin_plugins.common.errors import FinError
from fin_plugins.compat.vllm import LORA_RANKS
from fin_plugins.scoring.adapters import Adapter, parse_adapter_flag, read_adapter, read_adapters, vllm_lora_arguments


def _folder(folder: Path, weights: str = "adapter_model.safetensors", **settings: object) -> Path:
    """A folder laid out like PEFT's."""
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": 8, "base_model_name_or_path": "models/base", **settings}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    tensors = {f"base_model.model.layers.0.q_proj.lora_{side}.weight": np.zeros((1, 1)) for side in "AB"}
    save_file(tensors, folder / weights)
    return folder


def _adapter(rank: int, name: str = "a") -> Adapter:
    return Adapter(name, Path("/adapters") / name, rank, "base", ("q_proj",))


def test_reads_an_adapter_saved_by_peft(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    base = LlamaForCausalLM(
        LlamaConfig(vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    )
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], rank_pattern={"v_proj": 6})
    model = get_peft_model(base, config)
    model.peft_config["default"].base_model_name_or_path = "org/base"
    model.save_pretrained(tmp_path / "a")
    assert read_adapter("fomc", tmp_path / "a") == Adapter("fomc", tmp_path / "a", 6, "org/base", ("q_proj", "v_proj"))


def test_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _folder(tmp_path / "a", base_model_name_or_path=None)
    monkeypatch.chdir(tmp_path)
    assert parse_adapter_flag("fomc=a") == Adapter("fomc", tmp_path / "a", 8, "", ("q_proj",))


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FinError, match=r"adapter fomc: .*nothing is not a folder"):
        read_adapter("fomc", tmp_path / "nothing")


def test_full_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FinError, match=r"no adapter_config\.json: the folder is a full checkpoint: pass it as"):
        read_adapter("fomc", tmp_path)


def test_other_folder(tmp_path: Path) -> None:
    with pytest.raises(FinError, match=r"no adapter_config\.json: give the folder that PEFT"):
        read_adapter("fomc", tmp_path)


def test_pickle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FinError, match=r"adapter_model\.bin, a pickle.*save_pretrained"):
        read_adapter("fomc", _folder(tmp_path / "a", weights="adapter_model.bin"))


def test_no_weights(tmp_path: Path) -> None:
    with pytest.raises(FinError, match=r"has no adapter_model\.safetensors"):
        read_adapter("fomc", _folder(tmp_path / "a", weights="README.md"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peft_type": "IA3"}, "IA3.*merge_and_unload"),
        ({"r": 0}, r"has ranks \[0\]"),
        ({"rank_pattern": {"q_proj": "4"}}, r"has ranks \[8, '4'\]"),
    ],
)
def test_invalid_settings(tmp_path: Path, settings: dict, message: str) -> None:
    with pytest.raises(FinError, match=message):
        read_adapter("fomc", _folder(tmp_path / "a", **settings))


@pytest.mark.parametrize("text", ["{", "[1]", "\xff", "[" * 100_000, '{"r":' * 100_000])
def test_unreadable_settings(tmp_path: Path, text: str) -> None:
    (_folder(tmp_path / "a") / "adapter_config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(FinError, match=r"adapter fomc: .*adapter_config\.json (cannot be read|is not a mapping)"):
        read_adapter("fomc", tmp_path / "a")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "huge"])
def test_settings_that_are_not_a_regular_file(tmp_path: Path, kind: str) -> None:
    file = _folder(tmp_path / "a") / "adapter_config.json"
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    elif kind == "folder":
        file.mkdir()
    else:
        with file.open("wb") as opened:
            opened.truncate(1 << 33)
    with pytest.raises(FinError, match=r"adapter fomc: .*adapter_config\.json cannot be read"):
        read_adapter("fomc", tmp_path / "a")


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("adapters/fomc", "expected NAME=PATH"),
        ("fomc=", "expected NAME=PATH"),
        ("=adapters/fomc", "the name ''"),
        ("a b=adapters/fomc", "the name 'a b'"),
        ("../x=adapters/fomc", "the name '../x'"),
        ("..=adapters/fomc", "the name '..'"),
        ("base=adapters/fomc", "base is"),
        ("Base=adapters/fomc", "Base is"),
    ],
)
def test_invalid_flags(flag: str, message: str) -> None:
    with pytest.raises(FinError, match=f"--adapter .*{message}"):
        parse_adapter_flag(flag)


def test_a_path_may_hold_an_equals_sign(tmp_path: Path) -> None:
    assert parse_adapter_flag(f"x={_folder(tmp_path / 'r=8')}").path == tmp_path / "r=8"


def test_a_name_or_folder_given_twice(tmp_path: Path) -> None:
    first, second = _folder(tmp_path / "a"), _folder(tmp_path / "b")
    (tmp_path / "link").symlink_to(first)
    assert [adapter.name for adapter in read_adapters([f"x={first}", f"y={second}"])] == ["x", "y"]
    with pytest.raises(FinError, match="the name x"):
        read_adapters([f"x={first}", f"x={second}"])
    with pytest.raises(FinError, match="the same folder as adapter x"):
        read_adapters([f"x={first}", f"y={tmp_path / 'link'}"])


@pytest.mark.parametrize(("rank", "allowed"), [(1, 1), (2, 8), (8, 8), (32, 32), (33, 64), (300, 320), (512, 512)])
def test_smallest_sufficient_rank(rank: int, allowed: int) -> None:
    assert vllm_lora_arguments([_adapter(1), _adapter(rank)])["max_lora_rank"] == allowed


def test_arguments_follow_count_and_rank() -> None:
    assert vllm_lora_arguments([]) == {}
    for count in (1, 3, 40):
        arguments = vllm_lora_arguments([_adapter(16, str(i)) for i in range(count)])
        assert (
            arguments["enable_lora"]
            and arguments["lora_target_modules"] == ["q_proj"]
            and 1 <= arguments["max_loras"] <= arguments["max_cpu_loras"] <= count
        )
    with pytest.raises(FinError, match=r"adapter wide: rank 513 is above 512.*fin_hf"):
        vllm_lora_arguments([_adapter(4), _adapter(513, "wide")])


def test_ranks_match_the_installed_engine() -> None:
    """Read from the source: importing vLLM's settings takes longer than all these tests."""
    import importlib.util
    import re

    spec = importlib.util.find_spec("vllm")
    if spec is None or spec.origin is None:
        pytest.skip("vLLM is not installed here")
    source = (Path(spec.origin).parent / "config" / "lora.py").read_text(encoding="utf-8")
    (ranks,) = re.findall(r"MaxLoRARanks = Literal\[([\d, ]+)\]", source)
    assert tuple(int(rank) for rank in ranks.split(",")) == LORA_RANKS


def test_damaged_weights(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "a")
    (folder / "adapter_model.safetensors").write_bytes(b"half a file")
    with pytest.raises(FinError, match=r"adapter fomc: .*adapter_model\.safetensors cannot be read .*save the adapter"):
        read_adapter("fomc", folder)
