"""Tiny bases and experts: real files of random weights, the same in every run."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
_NOT_MODEL = ("model.safetensors", "config.json", "generation_config.json")


def make_base(folder: Path, tokenizer: Path, kind: str = "Llama", **settings: Any) -> Path:
    """A random model of four layers with the tokenizer of another; `kind` is what stands before `Config`."""
    import transformers

    vocabulary = json.loads((tokenizer / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    transformers.set_seed(5)
    config = getattr(transformers, f"{kind}Config")(**{"vocab_size": vocabulary, **SIZES, **settings})
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    for file in tokenizer.iterdir():
        if file.name not in _NOT_MODEL:
            shutil.copy(file, folder / file.name)
    return folder


def make_checkpoint(folder: Path, base: Path, seed: int, size: float = 0.01) -> Path:
    """The base with noise of this standard deviation on every weight, as a full fine-tune."""
    shutil.copytree(base, folder)
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: tensor + size * torch.randn(tensor.shape, generator=generator)
        for name, tensor in load_file(base / "model.safetensors").items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def make_adapter(folder: Path, base: Path, seed: int, **settings: Any) -> Path:
    """A LoRA adapter with random factors."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    config = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "up_proj"], **settings}
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(task_type="CAUSAL_LM", **config))
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = 0.1 * torch.randn(parameter.shape)
    model.save_pretrained(folder)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint in one or more files."""
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def change(first: Path, second: Path) -> dict[str, torch.Tensor]:
    """What the second checkpoint's weights are more than the first's, in float64."""
    origin = weights(first)
    return {name: tensor.double() - origin[name].double() for name, tensor in weights(second).items()}
