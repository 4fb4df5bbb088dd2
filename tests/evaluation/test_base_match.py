import shutil
from pathlib import Path

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.base_match import check_base
from fin_plugins.scoring.adapters import Adapter, read_adapter
from tests.evaluation.making import adapter, change_settings, llama


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base, one like it with other weights, three of other shapes, and an adapter of the base."""
    root = tmp_path_factory.mktemp("models")
    made = {
        "base": llama(root / "base"),
        "other": llama(root / "other", seed=1),
        "wide": llama(root / "wide", hidden_size=32),
        "short": llama(root / "short", num_hidden_layers=1),
        "words": llama(root / "words", vocab_size=96),
    }
    return {**made, "adapter": adapter(root / "adapter", made["base"])}


def _recorded(folders: dict[str, Path], folder: Path, base: str | None) -> Adapter:
    return read_adapter(
        "fomc", change_settings(shutil.copytree(folders["adapter"], folder), base_model_name_or_path=base)
    )


def test_the_folder_it_was_trained_on(folders: dict[str, Path], tmp_path: Path) -> None:
    found = read_adapter("fomc", folders["adapter"])
    assert found.base == str(folders["base"])
    check_base(found, found.base, folders["base"])
    (tmp_path / "link").symlink_to(folders["base"])
    check_base(found, "link", tmp_path / "link")


def test_a_copy_is_the_same_model(folders: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(folders["base"], tmp_path / "copy")
    change_settings(copy, transformers_version="4.0.0", use_cache=False)
    check_base(read_adapter("fomc", folders["adapter"]), str(copy), copy)


def test_the_same_weights_read_differently(folders: dict[str, Path], tmp_path: Path) -> None:
    copy = change_settings(shutil.copytree(folders["base"], tmp_path / "copy"), rms_norm_eps=0.1)
    with pytest.raises(FinError, match=r"adapter fomc was trained on .*base, and the model served is .*copy"):
        check_base(read_adapter("fomc", folders["adapter"]), str(copy), copy)


def test_another_model_of_the_same_shape(folders: dict[str, Path]) -> None:
    found = read_adapter("fomc", folders["adapter"])
    with pytest.raises(FinError, match=r"trained on .*base, and the model served is .*other: .*--any-base"):
        check_base(found, str(folders["other"]), folders["other"])
    check_base(found, str(folders["other"]), folders["other"], any_base=True)


def test_what_is_the_same_can_be_told_from_outside(folders: dict[str, Path]) -> None:
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
def test_names_of_a_base_that_is_not_here(
    folders: dict[str, Path], tmp_path: Path, recorded: str, pretrained: str, same: bool
) -> None:
    found = _recorded(folders, tmp_path / "a", recorded)
    if same:
        check_base(found, pretrained, folders["base"])
    else:
        with pytest.raises(FinError, match=f"trained on {recorded}, and the model served is {pretrained}"):
            check_base(found, pretrained, folders["base"])
        check_base(found, pretrained, folders["base"], any_base=True)


def test_no_base_recorded(folders: dict[str, Path], tmp_path: Path) -> None:
    found = _recorded(folders, tmp_path / "a", None)
    with pytest.raises(FinError, match=r"does not say which model it was trained on .*--any-base"):
        check_base(found, "base", folders["base"])
    check_base(found, "base", folders["base"], any_base=True)


@pytest.mark.parametrize(
    ("served", "message"),
    [
        ("wide", r"changes model\.layers\.0\.\S+, a matrix of 16 x 32, and .*wide has 32 x 32 there"),
        ("short", r"changes model\.layers\.1\.\S+, a matrix of .*, and .*short has no such module"),
    ],
)
def test_shapes_are_compared_whatever_the_name(folders: dict[str, Path], served: str, message: str) -> None:
    with pytest.raises(FinError, match=f"adapter fomc {message}"):
        check_base(read_adapter("fomc", folders["adapter"]), str(folders[served]), folders[served], any_base=True)


def test_tied_head_and_embeddings(folders: dict[str, Path], tmp_path: Path) -> None:
    """LoRA on embeddings is stored the other way round, and a tied head is in no file of the base."""
    tied = llama(tmp_path / "tied", tie_word_embeddings=True)
    found = read_adapter("x", adapter(tmp_path / "a", tied, target_modules=["embed_tokens", "lm_head", "q_proj"]))
    check_base(found, str(tied), tied)
    with pytest.raises(FinError, match=r"a matrix of 64 x 16, and .* has 96 x 16 there"):
        check_base(found, str(folders["words"]), folders["words"], any_base=True)


@pytest.mark.parametrize("flag", [True, False])
def test_transposed_base(flag: bool, tmp_path: Path) -> None:
    """Layers that lie the other way round beside one that does not: PEFT goes by class, whatever the flag says."""
    from transformers import GPT2Config, GPT2LMHeadModel

    base = tmp_path / "gpt2"
    GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=16, n_layer=1, n_head=2)).save_pretrained(base)
    path = adapter(tmp_path / "a", base, target_modules=["c_attn", "lm_head"], fan_in_fan_out=True)
    check_base(read_adapter("x", change_settings(path, fan_in_fan_out=flag)), str(base), base)


@pytest.mark.parametrize("size", [None, (0,), (16, 3)])
def test_factors_that_do_not_fit_each_other(folders: dict[str, Path], tmp_path: Path, size: tuple | None) -> None:
    """A factor that is missing, that is empty (ZeRO-3 shards never gathered), or of another rank."""
    import torch
    from safetensors.torch import load_file, save_file

    found = _recorded(folders, tmp_path / "a", "base")
    weights = load_file(found.path / "adapter_model.safetensors")
    name = next(name for name in weights if "lora_B" in name)
    del weights[name]
    save_file({**weights, **({name: torch.zeros(size)} if size else {})}, found.path / "adapter_model.safetensors")
    with pytest.raises(FinError, match=r"has factors \(4, \d+\) and (None|\(0,\)|\(16, 3\)): save it again"):
        check_base(found, "base", folders["base"])


def test_a_folder_that_holds_the_model_no_more(folders: dict[str, Path], tmp_path: Path) -> None:
    """Only its name is left of the recorded base."""
    (tmp_path / "SmolLM2").mkdir()
    check_base(_recorded(folders, tmp_path / "a", str(tmp_path / "SmolLM2")), "org/smollm2", folders["base"])


def test_a_base_in_pieces_and_a_quantised_one(folders: dict[str, Path], tmp_path: Path) -> None:
    """Shapes are put together from several files, and taken from the settings where the files hold packed weights."""
    from safetensors.torch import load_file, save_file

    pieces = shutil.copytree(folders["base"], tmp_path / "pieces")
    weights = load_file(pieces / "model.safetensors")
    (pieces / "model.safetensors").unlink()
    for number, part in enumerate((sorted(weights)[::2], sorted(weights)[1::2])):
        save_file({name: weights[name] for name in part}, pieces / f"model-0000{number}-of-00002.safetensors")
    found = read_adapter("fomc", folders["adapter"])
    check_base(found, "pieces", pieces, any_base=True)
    packed = change_settings(shutil.copytree(folders["wide"], tmp_path / "packed"), quantization_config={})
    with pytest.raises(FinError, match="packed has 32 x 32 there"):
        check_base(found, "packed", packed, any_base=True)
    same = change_settings(shutil.copytree(folders["base"], tmp_path / "same"), quantization_config={})
    save_file({name: weights[name].reshape(-1) for name in weights}, same / "model.safetensors")
    check_base(found, "same", same, any_base=True)


def test_a_base_without_shapes(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "of our own"}')
    found = read_adapter("fomc", folders["adapter"])
    with pytest.raises(FinError, match="shows no shapes to compare it with"):
        check_base(found, found.base, tmp_path)
    check_base(found, found.base, tmp_path, any_base=True)
    with pytest.raises(FinError, match="shows no shapes to compare it with"):
        check_base(found, "model.gguf", tmp_path / "model.gguf", same=lambda *_: True)
