"""Whether an adapter belongs to a base: by recorded name, by content, and by shapes."""

import shutil
from pathlib import Path

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.base_model import check_base
from fin_plugins.scoring.adapters import Adapter, read_adapter
from tests.evaluation.factories import adapter, change_settings, llama


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base, one with other weights, three with other shapes, and an adapter of the base."""
    root = tmp_path_factory.mktemp("models")
    models = {
        "base": llama(root / "base"),
        "other": llama(root / "other", seed=1),
        "wide": llama(root / "wide", hidden_size=32),
        "short": llama(root / "short", num_hidden_layers=1),
        "words": llama(root / "words", vocab_size=96),
    }
    return {**models, "adapter": adapter(root / "adapter", models["base"])}


def _recorded(folders: dict[str, Path], folder: Path, base: str | None) -> Adapter:
    return read_adapter(
        "fomc", change_settings(shutil.copytree(folders["adapter"], folder), base_model_name_or_path=base)
    )


def test_the_recorded_folder(folders: dict[str, Path], tmp_path: Path) -> None:
    served = read_adapter("fomc", folders["adapter"])
    assert served.base == str(folders["base"])
    check_base(served, served.base, folders["base"])
    (tmp_path / "link").symlink_to(folders["base"])
    check_base(served, "link", tmp_path / "link")


def test_a_copy_is_the_same_model(folders: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(folders["base"], tmp_path / "copy")
    change_settings(copy, transformers_version="4.0.0", use_cache=False)
    check_base(read_adapter("fomc", folders["adapter"]), str(copy), copy)


def test_the_same_weights_with_another_configuration(folders: dict[str, Path], tmp_path: Path) -> None:
    copy = change_settings(shutil.copytree(folders["base"], tmp_path / "copy"), rms_norm_eps=0.1)
    with pytest.raises(FinError, match=r"adapter fomc was trained on .*base, but the model served is .*copy"):
        check_base(read_adapter("fomc", folders["adapter"]), str(copy), copy)


def test_another_model_of_the_same_shape(folders: dict[str, Path]) -> None:
    served = read_adapter("fomc", folders["adapter"])
    with pytest.raises(FinError, match=r"trained on .*base, but the model served is .*other: .*--any-base"):
        check_base(served, str(folders["other"]), folders["other"])
    check_base(served, str(folders["other"]), folders["other"], any_base=True)


def test_the_caller_may_define_equality(folders: dict[str, Path]) -> None:
    check_base(read_adapter("fomc", folders["adapter"]), str(folders["other"]), folders["other"], same=lambda *_: True)


@pytest.mark.parametrize(
    ("recorded", "pretrained", "same"),
    [
        ("HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M", True),
        ("HuggingFaceTB/SmolLM2-135M", "/models/smollm2-135m/", True),
        ("/elsewhere/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M", True),
        ("/hub/models--HuggingFaceTB--SmolLM2-135M/snapshots/93efa2f097d5", "HuggingFaceTB/SmolLM2-135M", True),
        ("HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-360M", False),
        ("/elsewhere/checkpoint-500", "/models/checkpoint-500", False),
        ("/elsewhere/model", "/models/model", False),
        ("/", "/", True),
    ],
)
def test_names_of_a_base_on_another_machine(
    folders: dict[str, Path], tmp_path: Path, recorded: str, pretrained: str, same: bool
) -> None:
    served = _recorded(folders, tmp_path / "a", recorded)
    if same:
        check_base(served, pretrained, folders["base"])
    else:
        with pytest.raises(FinError, match=f"trained on {recorded}, but the model served is {pretrained}"):
            check_base(served, pretrained, folders["base"])
        check_base(served, pretrained, folders["base"], any_base=True)


def test_no_base_recorded(folders: dict[str, Path], tmp_path: Path) -> None:
    served = _recorded(folders, tmp_path / "a", None)
    with pytest.raises(FinError, match=r"base_model_name_or_path.*--any-base"):
        check_base(served, "base", folders["base"])
    check_base(served, "base", folders["base"], any_base=True)


@pytest.mark.parametrize(
    ("served", "message"),
    [
        ("wide", r"changes model\.layers\.0\.\S+, a matrix of 16 x 32, but .*wide has 32 x 32 there"),
        ("short", r"changes model\.layers\.1\.\S+, a matrix of .*, but .*short has no such module"),
    ],
)
def test_shapes_are_compared_with_any_base_too(folders: dict[str, Path], served: str, message: str) -> None:
    with pytest.raises(FinError, match=f"adapter fomc {message}"):
        check_base(read_adapter("fomc", folders["adapter"]), str(folders[served]), folders[served], any_base=True)


def test_tied_head_and_embeddings(folders: dict[str, Path], tmp_path: Path) -> None:
    """LoRA on embeddings is stored transposed, and a tied head is in no file of the base."""
    tied = llama(tmp_path / "tied", tie_word_embeddings=True)
    served = read_adapter("x", adapter(tmp_path / "a", tied, target_modules=["embed_tokens", "lm_head", "q_proj"]))
    check_base(served, str(tied), tied)
    with pytest.raises(FinError, match=r"a matrix of 64 x 16, but .* has 96 x 16 there"):
        check_base(served, str(folders["words"]), folders["words"], any_base=True)


@pytest.mark.parametrize("flag", [True, False])
def test_transposed_base(flag: bool, tmp_path: Path) -> None:
    """Transposed layers beside one that is not: PEFT goes by class, not by the flag."""
    from transformers import GPT2Config, GPT2LMHeadModel

    base = tmp_path / "gpt2"
    GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=16, n_layer=1, n_head=2)).save_pretrained(base)
    path = adapter(tmp_path / "a", base, target_modules=["c_attn", "lm_head"], fan_in_fan_out=True)
    check_base(read_adapter("x", change_settings(path, fan_in_fan_out=flag)), str(base), base)


@pytest.mark.parametrize("size", [None, (0,), (16, 3)])
def test_factors_that_do_not_fit_each_other(folders: dict[str, Path], tmp_path: Path, size: tuple | None) -> None:
    """A factor is missing, empty (ungathered ZeRO-3 shards), or of another rank."""
    import torch
    from safetensors.torch import load_file, save_file

    served = _recorded(folders, tmp_path / "a", "base")
    weights = load_file(served.path / "adapter_model.safetensors")
    name = next(name for name in weights if "lora_B" in name)
    del weights[name]
    save_file({**weights, **({name: torch.zeros(size)} if size else {})}, served.path / "adapter_model.safetensors")
    with pytest.raises(FinError, match=r"has factors \(4, \d+\) and (None|\(0,\)|\(16, 3\)): save it again"):
        check_base(served, "base", folders["base"])


def test_a_recorded_folder_without_the_model(folders: dict[str, Path], tmp_path: Path) -> None:
    """Only the recorded base's name remains."""
    (tmp_path / "SmolLM2").mkdir()
    check_base(_recorded(folders, tmp_path / "a", str(tmp_path / "SmolLM2")), "org/smollm2", folders["base"])


def test_a_sharded_and_a_quantised_base(folders: dict[str, Path], tmp_path: Path) -> None:
    """Shapes come from several files, or from the configuration if the weights are packed."""
    from safetensors.torch import load_file, save_file

    pieces = shutil.copytree(folders["base"], tmp_path / "pieces")
    weights = load_file(pieces / "model.safetensors")
    (pieces / "model.safetensors").unlink()
    for number, part in enumerate((sorted(weights)[::2], sorted(weights)[1::2])):
        save_file({name: weights[name] for name in part}, pieces / f"model-0000{number}-of-00002.safetensors")
    served = read_adapter("fomc", folders["adapter"])
    check_base(served, "pieces", pieces, any_base=True)
    packed = change_settings(shutil.copytree(folders["wide"], tmp_path / "packed"), quantization_config={})
    with pytest.raises(FinError, match="packed has 32 x 32 there"):
        check_base(served, "packed", packed, any_base=True)
    same = change_settings(shutil.copytree(folders["base"], tmp_path / "same"), quantization_config={})
    save_file({name: weights[name].reshape(-1) for name in weights}, same / "model.safetensors")
    check_base(served, "same", same, any_base=True)


def test_a_base_without_shapes(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "custom"}')
    served = read_adapter("fomc", folders["adapter"])
    with pytest.raises(FinError, match="--any-base"):
        check_base(served, served.base, tmp_path)
    check_base(served, served.base, tmp_path, any_base=True)
    with pytest.raises(FinError, match="--any-base"):
        check_base(served, "model.gguf", tmp_path / "model.gguf", same=lambda *_: True)
