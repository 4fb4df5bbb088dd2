import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.servable import check_servable, same_change, untrained
from fin_plugins.scoring.adapters import Adapter, read_adapter
from tests.evaluation.making import adapter, change_settings, llama


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return llama(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def plain(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return adapter(tmp_path_factory.mktemp("plain"), base)


def _with(plain: Path, folder: Path, **settings: Any) -> Adapter:
    return read_adapter("x", change_settings(shutil.copytree(plain, folder), **settings))


@pytest.mark.parametrize("engine", ["fin_vllm", "fin_hf"])
@pytest.mark.parametrize("init", [True, False, "gaussian", "eva", "lora_ga"])
def test_plain_lora_is_served(plain: Path, tmp_path: Path, engine: str, init: object) -> None:
    check_servable(_with(plain, tmp_path / "a", init_lora_weights=init), engine)


@pytest.mark.parametrize(
    ("settings", "feature"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"lora_bias": True}, "lora_bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices"),
    ],
)
def test_what_peft_alone_serves(base: Path, tmp_path: Path, settings: dict, feature: str) -> None:
    """Adapters that PEFT really wrote with the feature on; their own tensors are there too."""
    found = read_adapter("x", adapter(tmp_path / "a", base, **settings))
    check_servable(found, "fin_hf")
    with pytest.raises(FinError, match=rf"adapter x \(.*{feature}.*vLLM does not serve: use --model fin_hf, or merge"):
        check_servable(found)


def test_weights_alone_betray_the_feature(base: Path, tmp_path: Path) -> None:
    found = read_adapter("x", change_settings(adapter(tmp_path / "a", base, use_dora=True), use_dora=False))
    with pytest.raises(FinError, match=r"weights that are not LoRA's \(.*lora_magnitude_vector"):
        check_servable(found)


@pytest.mark.parametrize("engine", ["fin_vllm", "fin_hf"])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"init_lora_weights": "pissa_niter_4"}, "'pissa_niter_4' takes .*merge_and_unload.*path_initial_model"),
        ({"init_lora_weights": "olora"}, "'olora' takes the adapter out of the base's own weights"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication.* changes the base's own weights: merge it"),
        ({"bias": "lora_only"}, "bias='lora_only' replaces the base's own biases: merge it"),
        ({"alora_invocation_tokens": [1, 2]}, "aLoRA.* is not served: score it alone with --model hf"),
    ],
)
def test_what_no_shared_base_can_carry(plain: Path, tmp_path: Path, settings: dict, message: str, engine: str) -> None:
    with pytest.raises(FinError, match=message):
        check_servable(_with(plain, tmp_path / "a", **settings), engine)


def test_vllm_refuses_what_we_refuse_and_no_more(plain: Path, tmp_path: Path) -> None:
    """Our list against the installed engine's own: a feature it learns or drops shows here."""
    helper = pytest.importorskip("vllm.lora.peft_helper").PEFTHelper
    from vllm.config.lora import LoRAConfig

    features: list[dict[str, Any]] = [
        {},
        {"use_rslora": True},
        {"use_dora": True},
        {"lora_bias": True},
        {"modules_to_save": ["lm_head"]},
        {"layer_replication": [[0, 2]]},
        {"alora_invocation_tokens": [1]},
        {"use_bdlora": {"nblocks": 2}},
        {"use_qalora": True},
        {"bias": "all"},
        *({"init_lora_weights": init} for init in ("pissa", "olora", "corda", "loftq", "gaussian", "eva", "mica")),
    ]
    for index, feature in enumerate(features):
        found = _with(plain, tmp_path / str(index), **feature)
        assert _refused(lambda found=found: check_servable(found), FinError) == _refused(
            lambda found=found: helper.from_local_dir(str(found.path), None).validate_legal(LoRAConfig()), ValueError
        ), feature


def _refused(call: Any, error: type[Exception]) -> bool:
    try:
        call()
    except error:
        return True
    return False


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(plain: Path, tmp_path: Path, value: float) -> None:
    from safetensors.torch import load_file, save_file

    found = _with(plain, tmp_path / "a")
    weights = load_file(found.path / "adapter_model.safetensors")
    name = sorted(weights)[3]
    weights[name][0, 0] = value
    save_file(weights, found.path / "adapter_model.safetensors")
    with pytest.raises(FinError, match=rf"adapter x: .*{name} holds values that are not finite"):
        check_servable(found, "fin_hf")


def test_cut_file(plain: Path, tmp_path: Path) -> None:
    found = _with(plain, tmp_path / "a")
    file = found.path / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(FinError, match=r"adapter_model\.safetensors cannot be read"):
        check_servable(found)


def test_no_lora_in_the_file(plain: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    found = _with(plain, tmp_path / "a")
    save_file({"x": torch.ones(1)}, found.path / "adapter_model.safetensors")
    with pytest.raises(FinError, match="holds no LoRA weights"):
        check_servable(found)


def test_untrained(base: Path, plain: Path, tmp_path: Path) -> None:
    assert not untrained(read_adapter("x", plain))
    assert untrained(read_adapter("x", adapter(tmp_path / "zero", base, scale=0)))
    assert not untrained(read_adapter("x", adapter(tmp_path / "dora", base, scale=0, use_dora=True)))
    both = {"target_modules": ["embed_tokens", "q_proj"]}  # PEFT starts embeddings with A zero
    assert untrained(read_adapter("x", adapter(tmp_path / "embedding", base, scale=0, **both)))


def test_equal_products_of_other_factors_are_the_same_change(base: Path, tmp_path: Path) -> None:
    """As two merges leave them that have come to the same weights."""
    from safetensors.torch import load_file, save_file

    def changed(name: str, change: Callable[[str, Any], Any]) -> Adapter:
        folder = shutil.copytree(tmp_path / "one", tmp_path / name)
        file = folder / "adapter_model.safetensors"
        save_file({key: change(key, value).contiguous() for key, value in load_file(file).items()}, file)
        return read_adapter(name, folder)

    one = read_adapter("one", adapter(tmp_path / "one", base))
    scaled = changed("scaled", lambda key, value: value * (2.5 if "lora_A" in key else 0.4))
    turned = changed("turned", lambda key, value: value.flip(0) if "lora_A" in key else value.flip(1))
    assert same_change(one, scaled) and same_change(scaled, one) and same_change(one, turned)
    file = shutil.copytree(tmp_path / "one", tmp_path / "with_base") / "adapter_model.safetensors"
    saved = load_file(file)
    base_copy = {"base_model.model.lm_head.base_layer.weight": next(iter(saved.values())).clone()}
    save_file(saved | base_copy, file)  # as PEFT does beside LoRA on the head
    assert same_change(one, read_adapter("with_base", file.parent))
    near = changed("near", lambda key, value: value * (1 + 1e-4) if "layers.1" in key and "lora_B" in key else value)
    assert not same_change(one, near)
    assert not same_change(one, changed("mixed", lambda key, value: value.flip(0)))
    change_settings(tmp_path / "scaled", fan_in_fan_out=True)
    assert same_change(one, scaled)
    change_settings(tmp_path / "scaled", lora_alpha=99)
    assert not same_change(one, scaled)
