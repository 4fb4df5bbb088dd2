"""Adapters read as factors and written: what PEFT merges is what the factors are, and everything else is refused."""

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.base_model import EMBEDDING, LINEAR, BaseLayers, base_layers
from fin_plugins.merging.adapter_files import AdapterFactors, read_adapter_factors, target_modules, write_adapter
from fin_plugins.merging.low_rank import LowRankMatrix
from tests.merging.model_factories import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    change_config,
    change_tensors,
    make_adapter,
    make_base,
    peft_changes,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT's, about adapters that are refused here

TARGETS = ["q_proj", "v_proj", "down_proj"]
LAYER = "base_model.model.model.layers"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("bases") / "llama", None, num_hidden_layers=2)


@pytest.fixture(scope="module")
def plain(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tmp_path_factory.mktemp("experts") / "plain", base, 0, target_modules=TARGETS)


@pytest.fixture
def copy(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "copy"))


def read_factors(folder: Path) -> AdapterFactors:
    """Open an adapter for the base that it records."""
    config = json.loads((folder / ADAPTER_CONFIG).read_text())
    return read_adapter_factors("one", folder, base_layers(Path(config["base_model_name_or_path"])))


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
    folder = make_adapter(tmp_path / "one", base, 1, **{"target_modules": TARGETS, **settings})
    factors = read_factors(folder)
    for name, expected in peft_changes(base, folder).items():
        module = name.removesuffix(".weight")
        change = factors.change(module)
        if change is None:
            assert not expected.any()
        else:
            # PEFT scales in the adapter's float32.
            dense = change.dense().T if "embed" in name else change.dense()
            assert torch.allclose(dense, expected, atol=1e-6 * float(expected.abs().max()))
            assert change.norm() == pytest.approx(float(expected.norm()), rel=1e-6)
            assert factors.rank(module) == change.rank


@pytest.mark.parametrize(
    "settings, feature",
    [
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "bias='all'"),
        ({"lora_bias": True}, "lora_bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices"),
        ({"target_parameters": ["up_proj.weight"]}, "target_parameters"),
    ],
)
def test_adapters_with_more_than_factors_need_a_checkpoint(
    settings: dict[str, Any], feature: str, base: Path, tmp_path: Path
) -> None:
    folder = make_adapter(tmp_path / "one", base, 0, **{"target_modules": TARGETS, **settings})
    with pytest.raises(FinError, match=rf"^expert one: .*adapter_config.json: .*{feature}.*merge into a ch") as error:
        read_factors(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"use_bdlora": {"nblocks": 2}}, "block-diagonal LoRA"),
        ({"use_qalora": True}, "use_qalora"),
        ({"layer_replication": [[0, 1], [0, 2]]}, "layer_replication"),
        ({"kasa_config": {}}, None),
        ({"kasa_config": {"beta": 1}}, "KaSA"),
        ({"alora_invocation_tokens": [1]}, "aLoRA"),
        ({"arrow_config": {"top_k": 2}}, "Arrow"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa' .*path_initial_model_for_weight_conversion"),
        ({"init_lora_weights": "olora"}, "init_lora_weights='olora'"),
        ({"peft_type": "LOHA"}, "peft_type LOHA"),
        ({"r": 3}, "rank 3 here and 4"),
        ({"rank_pattern": {"q_proj": 9}}, "q_proj has rank 9 here and 4"),
        ({"lora_alpha": None}, "lora_alpha .* None"),
    ],
)
def test_other_settings(settings: dict[str, Any], message: str | None, copy: Path) -> None:
    change_config(copy / ADAPTER_CONFIG, **settings)
    if message is None:
        assert read_factors(copy).scales
    else:
        with pytest.raises(FinError, match=message):
            read_factors(copy)


@pytest.mark.parametrize(
    "tensors, message",
    [
        ({"odd.weight": torch.ones(2)}, "odd.weight"),
        ({f"{LAYER}.1.self_attn.q_proj.lora_B.weight": torch.ones(32, 5)}, r"layers.1.self_attn.q_proj .*\(32, 5\)"),
        ({f"{LAYER}.1.self_attn.q_proj.lora_B.weight": None}, "layers.1.self_attn.q_proj"),
    ],
)
def test_tensors_that_are_not_pairs_of_factors_are_refused(
    tensors: dict[str, torch.Tensor | None], message: str, copy: Path
) -> None:
    change_tensors(copy / ADAPTER_WEIGHTS, tensors)
    with pytest.raises(FinError, match=message):
        read_factors(copy)


def test_nan_is_refused_when_it_is_read(copy: Path) -> None:
    change_tensors(
        copy / ADAPTER_WEIGHTS, {f"{LAYER}.0.mlp.down_proj.lora_A.weight": torch.full((4, 48), float("nan"))}
    )
    factors = read_factors(copy)
    with pytest.raises(FinError, match=r"model.layers.0.mlp.down_proj.lora_A.weight .*NaN"):
        factors.change("model.layers.0.mlp.down_proj")
    assert factors.change("model.layers.1.mlp.down_proj") is not None


def test_broken_files_and_pickles_are_refused(copy: Path) -> None:
    (copy / ADAPTER_WEIGHTS).write_bytes(b"\x10" * 40)
    with pytest.raises(FinError, match="cannot be read"):
        read_factors(copy)
    (copy / ADAPTER_WEIGHTS).unlink()
    (copy / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(FinError, match="pickle"):
        read_factors(copy)


def test_the_recorded_base_is_read(plain: Path, base: Path) -> None:
    assert read_factors(plain).base == str(base)


ALL = [f"model.layers.{layer}.{part}" for layer in range(12) for part in ("attn.q_proj", "attn.v_proj", "mlp.up_proj")]
ALL += ["lm_head", "model.embed_tokens"]
LAYERS = BaseLayers({name: EMBEDDING if "embed" in name else LINEAR for name in ALL}, "model.embed_tokens", "lm_head")


@given(st.sets(st.sampled_from(ALL), min_size=1))
def test_target_modules_match_the_changed_modules_only(changed: set[str]) -> None:
    names = target_modules(changed, ALL)
    assert {module for module in ALL if any(module == name or module.endswith(f".{name}") for name in names)} == changed
    assert names == sorted(names)


def test_target_modules_are_short_where_possible() -> None:
    assert target_modules([module for module in ALL if "proj" in module], ALL) == ["q_proj", "up_proj", "v_proj"]
    assert target_modules(ALL[1:36], ALL)[-2:] == ["up_proj", "v_proj"]


@hypothesis_settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.sampled_from(ALL), st.integers(1, 9), min_size=1, max_size=8))
def test_written_factors_are_read_with_a_scale_of_one(ranks: dict[str, int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        changes = {name: LowRankMatrix(torch.full((6, rank), 0.5), torch.ones(rank, 5)) for name, rank in ranks.items()}
        write_adapter(Path(folder), changes, "owner/base", target_modules(ranks, ALL), LAYERS)
        factors = read_adapter_factors("one", Path(folder), LAYERS)
        assert dict(factors.scales) == dict.fromkeys(ranks, 1.0) and factors.base == "owner/base"
        for name, rank in ranks.items():
            change = factors.change(name)
            assert change is not None and torch.equal(change.dense(), torch.full((6, 5), 0.5 * rank).double())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    change = {"a.q_proj": LowRankMatrix(torch.ones(2, 1), torch.ones(1, 2))}
    with pytest.raises(FinError, match=re.escape(f"{tmp_path}/file/out: ")):
        write_adapter(tmp_path / "file" / "out", change, "base", ["q_proj"], LAYERS)
