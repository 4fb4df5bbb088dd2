"""Adapter features that the engines support, equal updates, and tokenizers that differ from the base's."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.adapter_support import check_supported, have_equal_updates, is_untrained, tokenizer_warnings
from fin_plugins.scoring.adapters import Adapter, read_adapter
from tests.evaluation.eval_workspace import EvalWorkspace, make_workspace
from tests.evaluation.factories import adapter, change_settings, llama


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
def test_plain_lora_is_supported(plain: Path, tmp_path: Path, engine: str, init: object) -> None:
    check_supported(_with(plain, tmp_path / "a", init_lora_weights=init), engine)


@pytest.mark.parametrize(
    ("settings", "feature"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"lora_bias": True}, "lora_bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices"),
    ],
)
def test_features_of_peft_only(base: Path, tmp_path: Path, settings: dict, feature: str) -> None:
    """Adapters saved by PEFT with the feature on, including its tensors."""
    served = read_adapter("x", adapter(tmp_path / "a", base, **settings))
    check_supported(served, "fin_hf")
    with pytest.raises(FinError, match=rf"adapter x \(.*{feature}.*vLLM.*--model fin_hf"):
        check_supported(served)


def test_a_feature_visible_in_the_weights_only(base: Path, tmp_path: Path) -> None:
    served = read_adapter("x", change_settings(adapter(tmp_path / "a", base, use_dora=True), use_dora=False))
    with pytest.raises(FinError, match=r"weights that are not LoRA's \(.*lora_magnitude_vector"):
        check_supported(served)


@pytest.mark.parametrize("engine", ["fin_vllm", "fin_hf"])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"init_lora_weights": "pissa_niter_4"}, "'pissa_niter_4' .*merge_and_unload.*path_initial_model"),
        ({"init_lora_weights": "olora"}, "'olora' .*base's own weights"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication.* changes the base's own weights: merge it"),
        ({"bias": "lora_only"}, "bias='lora_only' replaces the base's own biases: merge it"),
        ({"alora_invocation_tokens": [1, 2]}, "aLoRA.*--model hf"),
    ],
)
def test_features_that_change_a_shared_base(
    plain: Path, tmp_path: Path, settings: dict, message: str, engine: str
) -> None:
    with pytest.raises(FinError, match=message):
        check_supported(_with(plain, tmp_path / "a", **settings), engine)


def test_vllm_rejects_the_same_features(plain: Path, tmp_path: Path) -> None:
    """Compares our list with the installed engine's, to notice features that it adds or drops."""
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
        served = _with(plain, tmp_path / str(index), **feature)
        assert _is_rejected(lambda served=served: check_supported(served), FinError) == _is_rejected(
            lambda served=served: helper.from_local_dir(str(served.path), None).validate_legal(LoRAConfig()), ValueError
        ), feature


def _is_rejected(call: Any, error: type[Exception]) -> bool:
    try:
        call()
    except error:
        return True
    return False


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(plain: Path, tmp_path: Path, value: float) -> None:
    from safetensors.torch import load_file, save_file

    served = _with(plain, tmp_path / "a")
    weights = load_file(served.path / "adapter_model.safetensors")
    name = sorted(weights)[3]
    weights[name][0, 0] = value
    save_file(weights, served.path / "adapter_model.safetensors")
    with pytest.raises(FinError, match=rf"adapter x: .*{name} .*not finite"):
        check_supported(served, "fin_hf")


def test_cut_file(plain: Path, tmp_path: Path) -> None:
    served = _with(plain, tmp_path / "a")
    file = served.path / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(FinError, match=r"adapter_model\.safetensors cannot be read"):
        check_supported(served)


def test_no_lora_in_the_file(plain: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    served = _with(plain, tmp_path / "a")
    save_file({"x": torch.ones(1)}, served.path / "adapter_model.safetensors")
    with pytest.raises(FinError, match="no LoRA weights"):
        check_supported(served)


def test_untrained(base: Path, plain: Path, tmp_path: Path) -> None:
    assert not is_untrained(read_adapter("x", plain))
    assert is_untrained(read_adapter("x", adapter(tmp_path / "zero", base, scale=0)))
    assert not is_untrained(read_adapter("x", adapter(tmp_path / "dora", base, scale=0, use_dora=True)))
    both = {"target_modules": ["embed_tokens", "q_proj"]}  # PEFT starts embeddings with A zero
    assert is_untrained(read_adapter("x", adapter(tmp_path / "embedding", base, scale=0, **both)))


def test_equal_products_of_different_factors_are_equal_updates(base: Path, tmp_path: Path) -> None:
    """As in two merges that arrive at the same weights."""
    from safetensors.torch import load_file, save_file

    def changed(name: str, change: Callable[[str, Any], Any]) -> Adapter:
        folder = shutil.copytree(tmp_path / "one", tmp_path / name)
        file = folder / "adapter_model.safetensors"
        save_file({key: change(key, value).contiguous() for key, value in load_file(file).items()}, file)
        return read_adapter(name, folder)

    one = read_adapter("one", adapter(tmp_path / "one", base))
    scaled = changed("scaled", lambda key, value: value * (2.5 if "lora_A" in key else 0.4))
    turned = changed("turned", lambda key, value: value.flip(0) if "lora_A" in key else value.flip(1))
    assert have_equal_updates(one, scaled) and have_equal_updates(scaled, one) and have_equal_updates(one, turned)
    file = shutil.copytree(tmp_path / "one", tmp_path / "with_base") / "adapter_model.safetensors"
    saved = load_file(file)
    base_copy = {"base_model.model.lm_head.base_layer.weight": next(iter(saved.values())).clone()}
    save_file(saved | base_copy, file)  # as PEFT does beside LoRA on the head
    assert have_equal_updates(one, read_adapter("with_base", file.parent))
    near = changed("near", lambda key, value: value * (1 + 1e-4) if "layers.1" in key and "lora_B" in key else value)
    assert not have_equal_updates(one, near)
    assert not have_equal_updates(one, changed("mixed", lambda key, value: value.flip(0)))
    change_settings(tmp_path / "scaled", fan_in_fan_out=True)
    assert have_equal_updates(one, scaled)
    change_settings(tmp_path / "scaled", lora_alpha=99)
    assert not have_equal_updates(one, scaled)


ROWS = 300


@pytest.fixture
def adapter_folder(tmp_path: Path) -> Adapter:
    folder = tmp_path / "mine"
    folder.mkdir()
    return Adapter("mine", folder, 4, "", ("q_proj",))


def warnings(adapter_folder: Adapter, base: Path, chat: bool = True) -> list[str]:
    return tokenizer_warnings(adapter_folder, AutoTokenizer.from_pretrained(base), ROWS, chat)


def test_no_warning_without_a_difference(adapter_folder: Adapter, tiny_models: dict[str, Path]) -> None:
    base = tiny_models["llama3"]
    assert warnings(adapter_folder, base) == []  # as saved by PEFT
    AutoTokenizer.from_pretrained(base).save_pretrained(adapter_folder.path)  # as by trainers
    assert warnings(adapter_folder, base) == []


@pytest.mark.parametrize("chat", [True, False])
def test_another_template_with_its_remedy(chat: bool, adapter_folder: Adapter, tiny_models: dict[str, Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_models["llama3"])
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    tokenizer.save_pretrained(adapter_folder.path)
    (line,) = warnings(adapter_folder, tiny_models["llama3"], chat)
    assert "WARNING" in line and "chat template" in line and f"tokenizer={adapter_folder.path}" in line
    assert ("--apply_chat_template" in line) is not chat
    assert warnings(adapter_folder, adapter_folder.path, chat) == []  # the remedy


def test_a_template_without_a_tokenizer_has_another_remedy(
    adapter_folder: Adapter, tiny_models: dict[str, Path]
) -> None:
    (adapter_folder.path / "chat_template.jinja").write_text("{{ messages }}")
    (line,) = warnings(adapter_folder, tiny_models["llama3"])
    assert "tokenizer=" in line and f"tokenizer={adapter_folder.path}" not in line


def test_added_tokens_warn_and_tokens_without_an_embedding_are_an_error(
    adapter_folder: Adapter, tiny_models: dict[str, Path]
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_models["llama3"])
    tokenizer.add_tokens(["<up>"])
    tokenizer.save_pretrained(adapter_folder.path)
    (line,) = warnings(adapter_folder, tiny_models["llama3"])
    assert "<up>" in line and f"tokenizer={adapter_folder.path}" in line
    tokenizer.add_tokens([f"<{number}>" for number in range(ROWS)])
    tokenizer.save_pretrained(adapter_folder.path)
    with pytest.raises(FinError, match=rf"mine.*{ROWS} embedding rows.*pretrained="):
        warnings(adapter_folder, tiny_models["llama3"])


def test_a_padding_token_does_not_matter(adapter_folder: Adapter, tiny_models: dict[str, Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_models["llama3"])
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(adapter_folder.path)
    assert warnings(adapter_folder, tiny_models["llama3"]) == []


def test_an_unreadable_file_is_named(adapter_folder: Adapter, tiny_models: dict[str, Path]) -> None:
    (adapter_folder.path / "tokenizer.json").write_text("{")
    with pytest.raises(FinError, match=r"tokenizer\.json"):
        warnings(adapter_folder, tiny_models["llama3"])


@pytest.mark.usefixtures("quick")
def test_fin_eval_warns_once_before_the_engine_starts(
    tiny_models: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    workspace: EvalWorkspace = make_workspace(tmp_path, tiny_models["llama3"])
    for name in ("one", "two"):
        shutil.copy(workspace.base / "tokenizer.json", workspace.adapter(name))
    (workspace.adapter("one") / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    workspace.run(*workspace.flags("one", "two"), "--limit", "1", tasks="first")
    messages = capfd.readouterr().err
    assert messages.count("chat template in") == 1
    assert messages.index("adapter one has a chat template") < messages.index("engine started")
