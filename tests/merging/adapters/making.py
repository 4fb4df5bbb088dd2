"""Filled-in recipes, tiny bases of several architectures, and merges in float64 by PEFT to compare with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fin_plugins.merging.model import Expert, Filled

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


def tiny_base(folder: Path, kind: str = "Llama", **settings: Any) -> Path:
    """A tiny random model; `kind` is what transformers puts before `ForCausalLM`."""
    import transformers

    transformers.set_seed(3)
    config = getattr(transformers, f"{kind}Config")(**{**SIZES, **settings})
    getattr(transformers, f"{kind}ForCausalLM")(config).save_pretrained(folder)
    return folder


def filled(
    base: Path,
    experts: Mapping[str, Path],
    method: str = "task_arithmetic",
    each: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    with_base: bool = True,
    config: Mapping[str, Any] | None = None,
    seed: int = 0,
    **shared: Any,
) -> Filled:
    """A recipe over adapters; `config` replaces what would be its `models`."""
    own = each or {}
    models = [{"model": f"{base}+{path}", "parameters": dict(own.get(name, {}))} for name, path in experts.items()]
    content = {"merge_method": method, "parameters": shared, **(config or {"models": models})}
    if with_base:
        content["base_model"] = str(base)
    listed = tuple(Expert(name, path, True, dict(own.get(name, {}))) for name, path in experts.items())
    return Filled("test", method, base, str(base), listed, shared, content, seed)


def weights_of(base: Path, adapter: Path | None = None) -> dict[str, torch.Tensor]:
    """The model's weights in float64, with the adapter merged in by PEFT."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter), autocast_adapter_dtype=False)
        model = model.double().merge_and_unload()
    return {name: weight.detach() for name, weight in model.named_parameters()}


def change(base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    """What the adapter adds to each weight."""
    before, after = weights_of(base), weights_of(base, adapter)
    return {name: after[name] - before[name] for name in before}


def weighted(base: Path, experts: Mapping[Path, float]) -> dict[str, torch.Tensor]:
    """The base's weights and the weighted changes, in float64."""
    merged = weights_of(base)
    for adapter, weight in experts.items():
        for name, delta in change(base, adapter).items():
            merged[name] += weight * delta
    return merged


def distance(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor], base: Path, border: int = 0) -> float:
    """How far two sets of weights are apart, as a share of how far the second is from the base.

    Args:
        one: the first.
        other: the second.
        base: the base of both.
        border: entries of each tensor that are left out, those farthest apart: methods that trim keep or drop one on
            the border by the last bit of its size, which differs from processor to processor.
    """
    before = weights_of(base)
    apart = sum(float(without_border(one[name] - other[name], border).square().sum()) for name in before)
    return float((apart / sum(float((other[name] - before[name]).square().sum()) for name in before)) ** 0.5)


def without_border(difference: torch.Tensor, border: int) -> torch.Tensor:
    """A difference without its so many largest entries."""
    flat = difference.flatten()
    return flat[flat.abs().argsort(descending=True)[border:]]
