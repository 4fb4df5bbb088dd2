import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.base_layers import base_layers
from fin_plugins.merging.adapters.factors import PREFIX, Factors
from fin_plugins.merging.adapters.factors import read_factors as read_for
from tests.evaluation.making import adapter, change_settings
from tests.merging.adapters.making import change, tiny_base

FILE = "adapter_model.safetensors"


def read_factors(name: str, path: Path) -> Factors:
    """Open an adapter for the base that it names."""
    settings = json.loads((path / "adapter_config.json").read_text())
    return read_for(name, path, base_layers(Path(settings["base_model_name_or_path"])))


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT's, of what is refused here


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("bases") / "llama", num_hidden_layers=2)


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return adapter(tmp_path_factory.mktemp("experts") / "plain", base)


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copied"
    folder.mkdir()
    for name in ("adapter_config.json", FILE):
        (folder / name).write_bytes((trained / name).read_bytes())
    return folder


def change_tensors(folder: Path, **changed: torch.Tensor | None) -> None:
    """Replace tensors by the end of their names; None takes one away."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / FILE)
    for end, tensor in changed.items():
        suffix = end.replace("__", ".") + ".weight"
        name = next((name for name in tensors if name.endswith(suffix)), suffix)
        tensors.pop(name, None)
        if tensor is not None:
            tensors[name] = tensor
    save_file(tensors, folder / FILE, metadata={"format": "pt"})


@pytest.mark.parametrize(
    "settings",
    [
        {"lora_alpha": 3},
        {"lora_alpha": 3, "use_rslora": True},
        {"rank_pattern": {"q_proj": 2, "layers.1.mlp.down_proj": 7}, "alpha_pattern": {"down_proj": 5}},
        {"rank_pattern": {"^model.layers.0.self_attn.q_proj": 2}, "alpha_pattern": {r"layers\.\d\.self_attn.*": 3}},
        {"use_rslora": True, "rank_pattern": {"v_proj": 2}, "alpha_pattern": {"v_proj": 11}},
        {"layers_to_transform": [1], "target_modules": ["q_proj"]},
        {"init_lora_weights": "orthogonal"},
        {"exclude_modules": ["model.layers.0.self_attn.q_proj"]},
        {"target_modules": ["embed_tokens", "lm_head", "q_proj"]},
    ],
)
def test_each_module_changes_as_peft_merges_it(settings: dict[str, Any], base: Path, tmp_path: Path) -> None:
    path = adapter(tmp_path / "one", base, **settings)
    factors = read_factors("one", path)
    expected = change(base, path)
    for name, delta in expected.items():
        product = factors.product(name.removesuffix(".weight"))
        if product is None:
            assert not delta.any()
        else:
            # PEFT scales in the adapter's float32
            dense = product.dense().T if "embed" in name else product.dense()
            assert torch.allclose(dense, delta, atol=1e-6 * float(delta.abs().max()))
            assert product.norm() == pytest.approx(float(delta.norm()), rel=1e-6)
            assert factors.rank(name.removesuffix(".weight")) == product.rank


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"use_dora": True}, "it has DoRA, which two factors do not hold"),
        ({"bias": "all"}, "bias='all' replaces the base's own biases"),
        ({"lora_bias": True}, "a bias beside the LoRA weights"),
        ({"modules_to_save": ["lm_head"]}, "whole modules of its own"),
        ({"trainable_token_indices": [1, 2]}, "embeddings of its own for some tokens"),
        ({"target_parameters": ["up_proj.weight"]}, "factors of bare parameters"),
    ],
)
def test_what_peft_trains_beside_the_factors_is_refused(
    settings: dict[str, Any], message: str, base: Path, tmp_path: Path
) -> None:
    path = adapter(tmp_path / "one", base, **settings)
    with pytest.raises(FinError, match=rf"^expert one: .*adapter_config.json: .*{message}.*: merge into a ch") as error:
        read_factors("one", path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"use_bdlora": {"nblocks": 2}}, "block-diagonal LoRA"),
        ({"use_qalora": True}, r"QALoRA \(use_qalora\)"),
        ({"layer_replication": [[0, 1], [0, 2]]}, "repeated layers"),
        ({"kasa_config": {}}, None),
        ({"kasa_config": {"beta": 1}}, "a cut of the base's weights"),
        ({"alora_invocation_tokens": [1]}, "activation by tokens of the prompt"),
        ({"arrow_config": {"top_k": 2}}, "routing between adapters"),
        (
            {"init_lora_weights": "pissa"},
            "init_lora_weights='pissa' takes it out of the base's own weights: save",
        ),
        ({"init_lora_weights": "olora"}, "takes it out of the base's own weights"),
        ({"peft_type": "LOHA"}, "peft_type LOHA"),
        ({"r": 3}, r"has rank 4 in the file and 3 here: save it again"),
        ({"rank_pattern": {"q_proj": 9}}, r"q_proj has rank 4 in the file and 9 here"),
        ({"lora_alpha": None}, "is None, not a number"),
    ],
)
def test_other_settings(settings: dict[str, Any], message: str | None, copied: Path) -> None:
    change_settings(copied, **settings)
    if message is None:
        assert read_factors("one", copied).scales
        return
    with pytest.raises(FinError, match=message):
        read_factors("one", copied)


def test_what_is_no_factor_is_refused(copied: Path) -> None:
    change_tensors(copied, layers__0__self_attn__q_proj__lora_B=None, odd=torch.ones(2))
    with pytest.raises(FinError, match=r"odd.weight is no factor of LoRA on a layer"):
        read_factors("one", copied)


def test_factors_that_do_not_fit(copied: Path) -> None:
    change_tensors(copied, layers__1__self_attn__q_proj__lora_B=torch.ones(32, 5))
    with pytest.raises(FinError, match=r"layers.1.self_attn.q_proj has factors of shapes .*, not two that multiply"):
        read_factors("one", copied)
    change_tensors(copied, layers__1__self_attn__q_proj__lora_B=None)
    with pytest.raises(FinError, match="not two that multiply"):
        read_factors("one", copied)


def test_numbers_that_are_none(copied: Path) -> None:
    change_tensors(copied, layers__0__mlp__down_proj__lora_A=torch.full((4, 48), float("nan")))
    factors = read_factors("one", copied)
    with pytest.raises(FinError, match=r"model.layers.0.mlp.down_proj.lora_A.weight holds NaN or infinity: train it"):
        factors.product("model.layers.0.mlp.down_proj")
    assert factors.product("model.layers.1.mlp.down_proj") is not None


def test_files_that_are_none(copied: Path) -> None:
    (copied / FILE).write_bytes(b"\x10" * 40)
    with pytest.raises(FinError, match="cannot be read"):
        read_factors("one", copied)
    (copied / FILE).unlink()
    (copied / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(FinError, match="a pickle, which can run code when read"):
        read_factors("one", copied)


def test_it_remembers_the_base(trained: Path, base: Path) -> None:
    assert read_factors("one", trained).base == str(base)
    header = json.loads((trained / "adapter_config.json").read_text())
    assert header["base_model_name_or_path"] == str(base) and PREFIX == "base_model.model."
