"""Tiny bases, experts and resolved recipes: real files of random weights, the same in every run."""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from fin_plugins.common.errors import FinError
from fin_plugins.merging.recipes.recipe_model import Expert, MergeModels, ResolvedRecipe
from fin_plugins.merging.recipes.recipe_resolution import read_recipe, read_settings, resolve_recipe

ADAPTER_WEIGHTS, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
MLP = ["gate_proj", "up_proj", "down_proj"]
SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
_NOT_TOKENIZER = ("model.safetensors", "config.json", "generation_config.json")
TWO_EXPERT_RECIPES = ("slerp", "nuslerp", "layer_swap")


def make_base(folder: Path, tokenizer: Path | None, kind: str = "Llama", **settings: Any) -> Path:
    """A random model of four layers.

    Args:
        folder: folder of the model.
        tokenizer: folder of another model, whose tokenizer is copied; None for no tokenizer.
        kind: what precedes `Config` in transformers' class name.
        settings: changed settings of the configuration.
    """
    import transformers

    transformers.set_seed(5)
    if tokenizer is not None:
        vocabulary = json.loads((tokenizer / "config.json").read_text(encoding="utf-8"))["vocab_size"]
        settings = {"vocab_size": vocabulary, **settings}
    config = getattr(transformers, f"{kind}Config")(**{**SIZES, **settings})
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    for file in tokenizer.iterdir() if tokenizer is not None else ():
        if file.name not in _NOT_TOKENIZER:
            shutil.copy(file, folder / file.name)
    return folder


def make_checkpoint(folder: Path, base: Path, seed: int, size: float = 0.01) -> Path:
    """The base plus noise of standard deviation `size` on every weight, like a full fine-tune."""
    shutil.copytree(base, folder)
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: tensor + size * torch.randn(tensor.shape, generator=generator)
        for name, tensor in load_file(base / "model.safetensors").items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def make_adapter(folder: Path, base: Path, seed: int, size: float = 0.1, **settings: Any) -> Path:
    """A LoRA adapter with random factors of standard deviation `size`; settings are PEFT's."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    config = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "up_proj"], **settings}
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(task_type="CAUSAL_LM", **config))
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = size * torch.randn(parameter.shape)
    model.save_pretrained(folder)
    return folder


def change_config(file: Path, **values: Any) -> None:
    """Change keys of a JSON file."""
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**content, **values}), encoding="utf-8")


def change_tensors(file: Path, changed: Mapping[str, torch.Tensor | None]) -> None:
    """Replace or add tensors of a safetensors file by name; None removes one."""
    tensors = {**load_file(file), **changed}
    save_file({name: it for name, it in tensors.items() if it is not None}, file, metadata={"format": "pt"})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint in one or more files."""
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def weight_changes(base: Path, checkpoint: Path) -> dict[str, torch.Tensor]:
    """The differences of a checkpoint's weights from the base's, in float64."""
    origin = weights(base)
    return {name: tensor.double() - origin[name].double() for name, tensor in weights(checkpoint).items()}


def peft_weights(base: Path, adapter: Path | None = None) -> dict[str, torch.Tensor]:
    """The model's weights in float64, with the adapter merged in by PEFT alone."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter), autocast_adapter_dtype=False)
        model = model.double().merge_and_unload()
    return {name: weight.detach() for name, weight in model.named_parameters()}


def peft_changes(base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    """What the adapter adds to each weight, in float64."""
    before, after = peft_weights(base), peft_weights(base, adapter)
    return {name: after[name] - before[name] for name in before}


def weighted_weights(base: Path, coefficients: Mapping[Path, float]) -> dict[str, torch.Tensor]:
    """The base's weights plus the weighted changes of adapters, in float64."""
    merged = peft_weights(base)
    for adapter, coefficient in coefficients.items():
        for name, change in peft_changes(base, adapter).items():
            merged[name] += coefficient * change
    return merged


def relative_distance(
    first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor], base: Path, border: int = 0
) -> float:
    """The distance of two sets of weights, as a share of the second's distance from the base.

    Args:
        first: weights by name.
        second: weights by name.
        base: the base of both.
        border: number of entries of each tensor to leave out, those farthest apart. Trimming methods keep or drop an
            entry on the border by the last bit of its size, which differs between processors.
    """
    before = peft_weights(base)
    apart = sum(float(without_border(first[name] - second[name], border).square().sum()) for name in before)
    return float((apart / sum(float((second[name] - before[name]).square().sum()) for name in before)) ** 0.5)


def without_border(difference: torch.Tensor, border: int) -> torch.Tensor:
    """A difference without its `border` largest entries."""
    flat = difference.flatten()
    return flat[flat.abs().argsort(descending=True)[border:]]


def resolve_bundled(recipe: str, base: Path, experts: Mapping[str, Path], *sets: str, **options: Any) -> ResolvedRecipe:
    """A bundled recipe for these experts; a recipe for two takes the first two."""
    names = list(experts)[: 2 if recipe in TWO_EXPERT_RECIPES else None]
    listed = tuple(Expert(name, experts[name], (experts[name] / ADAPTER_CONFIG).is_file()) for name in names)
    settings, problems = read_settings(sets, (), names)
    assert not problems
    return resolve_recipe(read_recipe(recipe), MergeModels(base, str(base), 4, "float32", listed), settings, **options)


def adapter_recipe(
    base: Path,
    experts: Mapping[str, Path],
    method: str = "task_arithmetic",
    each: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    with_base: bool = True,
    config: Mapping[str, Any] | None = None,
    seed: int = 0,
    **parameters: Any,
) -> ResolvedRecipe:
    """A recipe for adapters, without placeholders.

    Args:
        base: folder of the base.
        experts: folders of the adapters by name.
        method: mergekit's name of the method.
        each: parameters of the experts by name.
        with_base: whether the base is the method's base.
        config: replaces the `models` of mergekit's configuration.
        seed: seed for random methods.
        parameters: parameters of the method.
    """
    own = each or {}
    models = [{"model": f"{base}+{path}", "parameters": dict(own.get(name, {}))} for name, path in experts.items()]
    content = {"merge_method": method, "parameters": parameters, **(config or {"models": models})}
    if with_base:
        content["base_model"] = str(base)
    listed = tuple(Expert(name, path, True, dict(own.get(name, {}))) for name, path in experts.items())
    return ResolvedRecipe("test", method, base, str(base), listed, parameters, content, seed)


def required_rank_and_modules(error: FinError) -> tuple[int, list[str]]:
    """The required rank that an error names, and the worst modules, whose choice depends on near-equal residuals."""
    return int(str(error).split("need rank ")[1].split(":")[0]), re.findall(r"(model\.\S+) \d+% at rank", str(error))
