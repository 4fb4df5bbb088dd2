"""Every factor that an adapter has is in the merge, as PEFT alone adds it to the base, or the merge is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from fin_plugins.cli.main import fin
from tests.merging.model_factories import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    change_config,
    change_tensors,
    make_adapter,
    make_base,
    make_checkpoint,
)

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore::UserWarning")]

TOLERANCE = 5e-5  # nats: float32 on weights of about one
TOKENS = torch.tensor([[1, 5, 9, 120, 3, 17, 42, 8, 100, 2]])


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> dict[str, Path]:
    folder, tokenizer = tmp_path_factory.mktemp("bases"), tiny_models["llama3"]
    return {
        "tied": make_base(folder / "tied", tokenizer, tie_word_embeddings=True, initializer_range=0.15),
        "untied": make_base(folder / "untied", tokenizer, tie_word_embeddings=False, initializer_range=0.15),
        "gpt2": make_base(folder / "gpt2", tokenizer, "GPT2", initializer_range=0.2),
    }


KINDS: dict[str, dict[str, Any]] = {
    "plain": {"target_modules": ["q_proj"]},
    "head": {"target_modules": ["q_proj", "lm_head"]},
    "embeddings": {"target_modules": ["q_proj", "embed_tokens"]},
    "both": {"target_modules": ["embed_tokens", "lm_head"]},
    "both tied": {"target_modules": ["q_proj", "embed_tokens"], "ensure_weight_tying": True},
    "saved embeddings": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "saved head": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "token rows": {"target_modules": ["q_proj"], "trainable_token_indices": [5, 100]},
    "dora head": {"target_modules": ["q_proj", "lm_head"], "use_dora": True},
}
_LOW_RANK = ("plain", "head", "embeddings", "both", "both tied")
CONV1D = {"square": ["attn.c_proj"], "beside a linear layer": ["c_attn", "c_fc", "lm_head"]}


def merge(recipe: str, base: Path, experts: dict[str, Path], out: Path, *options: str) -> Path:
    flags = [word for name, path in experts.items() for word in ("--expert", f"{name}={path}")]
    result = CliRunner().invoke(fin, ["merge", recipe, "--base", str(base), *flags, "--out", str(out), *options])
    if result.exception:
        raise result.exception
    return out


def merge_error(recipe: str, base: Path, experts: dict[str, Path], out: Path, *options: str) -> str:
    with pytest.raises(Exception) as error:
        merge(recipe, base, experts, out, *options)
    return str(error.value)


def log_probs(base: Path, adapter: Path | None = None) -> torch.Tensor:
    """Log-probabilities of the model, with the adapter added by PEFT alone."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
    with torch.no_grad():
        result: torch.Tensor = model(TOKENS).logits.double().log_softmax(-1)
    return result


def largest_difference(first: torch.Tensor, second: torch.Tensor) -> float:
    return float((first - second).abs().max())


def without_base_copies(adapter: Path, folder: Path) -> Path:
    """The adapter without the base's own weights, which other tools do not save with it."""
    shutil.copytree(adapter, folder)
    names = [name for name in load_file(adapter / ADAPTER_WEIGHTS) if "base_layer" in name]
    change_tensors(folder / ADAPTER_WEIGHTS, dict.fromkeys(names))
    return folder


def make_full_adapter(folder: Path, base: Path, **settings: Any) -> Path:
    """An adapter in which everything differs from the base: also entire modules and single rows."""
    adapter = make_adapter(folder, base, 7, **settings)
    tensors = load_file(adapter / ADAPTER_WEIGHTS)
    torch.manual_seed(1)
    changed = {
        name: it if "lora_" in name or "base_layer" in name else it + 0.04 * torch.randn_like(it)
        for name, it in tensors.items()
    }
    head = "base_model.model.lm_head.lora_"
    if settings.get("ensure_weight_tying") and f"{head}A.weight" in changed:
        embeddings = "base_model.model.model.embed_tokens.lora_embedding_"
        factors = {"A": changed[f"{embeddings}B"], "B": changed[f"{embeddings}A"]}
        changed |= {f"{head}{name}.weight": factor.T.contiguous() for name, factor in factors.items()}
    save_file(changed, adapter / ADAPTER_WEIGHTS, {"format": "pt"})
    return adapter


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tie", ["tied", "untied"])
def test_a_merge_of_one_adapter_is_what_peft_makes_of_it(
    tie: str, kind: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    base = bases[tie]
    experts = {"a": make_full_adapter(tmp_path / "adapter", base, **KINDS[kind])}
    expected = log_probs(base, experts["a"])
    assert largest_difference(expected, log_probs(base)) > 0.05
    checkpoint = merge("task_arithmetic", base, experts, tmp_path / "out")
    assert largest_difference(log_probs(checkpoint), expected) < TOLERANCE
    if kind in _LOW_RANK:
        adapter = merge("task_arithmetic", base, experts, tmp_path / "adapter-out", "--as-adapter")
        assert largest_difference(log_probs(base, adapter), expected) < TOLERANCE
    else:
        message = merge_error("task_arithmetic", base, experts, tmp_path / "no", "--as-adapter")
        assert "merge into a checkpoint" in message


@pytest.mark.parametrize(
    "kind, untied", [("head", True), ("embeddings", True), ("both tied", False), ("token rows", False)]
)
def test_the_output_layer_is_untied_if_necessary(
    kind: str, untied: bool, bases: dict[str, Path], tmp_path: Path
) -> None:
    adapter = make_full_adapter(tmp_path / "adapter", bases["tied"], **KINDS[kind])
    out = merge("linear", bases["tied"], {"a": adapter}, tmp_path / "out")
    assert json.loads((out / "config.json").read_text())["tie_word_embeddings"] is not untied
    assert ("lm_head.weight" in load_file(out / "model.safetensors")) is untied


@pytest.mark.parametrize("recipe, options", [("task_arithmetic", ()), ("ties", ("--set", "density=1"))])
def test_experts_of_different_modules(
    recipe: str, options: tuple[str, ...], bases: dict[str, Path], tmp_path: Path
) -> None:
    """One expert has LoRA on the output layer, another on embeddings, a third on neither."""
    base = bases["tied"]
    experts = {name: make_full_adapter(tmp_path / name, base, **KINDS[name]) for name in ("embeddings", "plain")}
    others = dict(experts)
    full = make_full_adapter(tmp_path / "full", base, **KINDS["head"])
    experts["head"] = without_base_copies(full, tmp_path / "head")
    checkpoint = log_probs(merge(recipe, base, experts, tmp_path / "out", *options))
    rank = ("--rank", "32") if options else ()
    adapter = merge(recipe, base, experts, tmp_path / "adapter", "--as-adapter", *options, *rank)
    assert largest_difference(log_probs(base, adapter), checkpoint) < 10 * TOLERANCE
    without = log_probs(merge(recipe, base, others, tmp_path / "without", *options))
    assert largest_difference(checkpoint, without) > 0.01


@pytest.mark.parametrize("targets", CONV1D)
@pytest.mark.parametrize("fan_in_fan_out", [True, False])
def test_the_orientation_is_the_bases(
    targets: str, fan_in_fan_out: bool, bases: dict[str, Path], tmp_path: Path
) -> None:
    base = bases["gpt2"]
    adapter = make_full_adapter(tmp_path / "adapter", base, target_modules=CONV1D[targets])
    change_config(adapter / ADAPTER_CONFIG, fan_in_fan_out=fan_in_fan_out)
    expected = log_probs(base, adapter)
    checkpoint = merge("task_arithmetic", base, {"a": adapter}, tmp_path / "out")
    assert largest_difference(log_probs(checkpoint), expected) < TOLERANCE
    merged = merge("task_arithmetic", base, {"a": adapter}, tmp_path / "merged", "--as-adapter")
    assert largest_difference(log_probs(base, merged), expected) < TOLERANCE


def test_methods_that_work_by_row_see_rows_as_stored(bases: dict[str, Path], tmp_path: Path) -> None:
    adapters = {
        name: make_adapter(tmp_path / name, bases["gpt2"], seed, target_modules=["c_attn", "c_fc"])
        for seed, name in enumerate("ab")
    }
    options = ("--set", "density=0.5", "--set", "epsilon=0.15")
    checkpoint = log_probs(merge("della", bases["gpt2"], adapters, tmp_path / "out", *options))
    merged = merge("della", bases["gpt2"], adapters, tmp_path / "merged", *options, "--as-adapter", "--rank", "32")
    assert largest_difference(log_probs(bases["gpt2"], merged), checkpoint) < 10 * TOLERANCE


def untie(checkpoint: Path) -> Path:
    """Give the checkpoint an output layer of its own."""
    torch.manual_seed(3)
    embeddings = load_file(checkpoint / "model.safetensors")["model.embed_tokens.weight"]
    head = embeddings + 0.1 * torch.randn_like(embeddings)
    change_tensors(checkpoint / "model.safetensors", {"lm_head.weight": head})
    change_config(checkpoint / "config.json", tie_word_embeddings=False)
    return checkpoint


@pytest.mark.parametrize("unused_head", [False, True])
def test_a_checkpoint_may_untie_the_output_layer(unused_head: bool, bases: dict[str, Path], tmp_path: Path) -> None:
    """Also if the tied base's own file contains an output layer, which nothing reads."""
    base = Path(shutil.copytree(bases["tied"], tmp_path / "base"))
    if unused_head:
        embeddings = load_file(base / "model.safetensors")["model.embed_tokens.weight"]
        change_tensors(base / "model.safetensors", {"lm_head.weight": torch.randn_like(embeddings)})
    other = make_checkpoint(tmp_path / "other", bases["tied"], 1)
    expert = untie(make_checkpoint(tmp_path / "expert", bases["tied"], 2))
    single = merge("linear", base, {"a": expert}, tmp_path / "single")
    assert largest_difference(log_probs(single), log_probs(expert)) < TOLERANCE
    both = load_file(merge("linear", base, {"a": expert, "b": other}, tmp_path / "both") / "model.safetensors")
    first, second = (load_file(path / "model.safetensors") for path in (expert, other))
    expected = (first["lm_head.weight"] + second["model.embed_tokens.weight"]) / 2
    torch.testing.assert_close(both["lm_head.weight"], expected, rtol=0, atol=1e-6)


def test_a_tied_checkpoint_on_an_untied_base(bases: dict[str, Path], tmp_path: Path) -> None:
    base = untie(Path(shutil.copytree(bases["tied"], tmp_path / "base")))
    expert = make_checkpoint(tmp_path / "expert", bases["tied"], 2)
    out = merge("linear", base, {"a": expert}, tmp_path / "out")
    assert largest_difference(log_probs(out), log_probs(expert)) < TOLERANCE


def add_tensor(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {**tensors, "base_model.model.model.layers.0.mlp.act.odd": torch.ones(3)}


def rename_layer(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.replace("layers.3", "layers.9"): tensor for name, tensor in tensors.items()}


def change_base_copy(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor + ("base_layer" in name) for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    "kind, change, name",
    [
        ("plain", add_tensor, "mlp.act.odd"),
        ("plain", rename_layer, "layers.9"),
        ("head", change_base_copy, "lm_head.base_layer"),
        ("dora head", add_tensor, "mlp.act.odd"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--as-adapter",)])
def test_tensors_without_a_place_in_the_base_are_refused(
    options: tuple[str, ...],
    kind: str,
    change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
    name: str,
    bases: dict[str, Path],
    tmp_path: Path,
) -> None:
    adapter = make_full_adapter(tmp_path / "adapter", bases["tied"], **KINDS[kind])
    save_file(change(load_file(adapter / ADAPTER_WEIGHTS)), adapter / ADAPTER_WEIGHTS, {"format": "pt"})
    message = merge_error("task_arithmetic", bases["tied"], {"a": adapter}, tmp_path / "out", *options)
    assert name in message or (options and "DoRA" in message)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["adapter"]
