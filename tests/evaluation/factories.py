"""Adapters and base models for tests: real PEFT files, tiny and random."""

import json
from pathlib import Path
from typing import Any


def adapter(folder: Path, base: Path, scale: float = 0.5, recorded: str | None = None, **settings: Any) -> Path:
    """Save a LoRA adapter for the model in `base` with PEFT.

    Args:
        folder: where to save it.
        base: the base's folder.
        scale: standard deviation of B; 0 leaves it zero, as before any training.
        recorded: the base's name in adapter_config.json; by default the folder.
        settings: PEFT's LoraConfig.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(len(str(folder)) + int(100 * scale))
    config = LoraConfig(**{"r": 4, "target_modules": ["q_proj", "v_proj", "down_proj"], **settings})
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, scale)
    model.save_pretrained(folder)
    if recorded is not None:
        change_settings(folder, base_model_name_or_path=recorded)
    return folder


def change_settings(folder: Path, **settings: Any) -> Path:
    """Change settings of an adapter or a model."""
    file = next(file for name in ("adapter_config.json", "config.json") if (file := folder / name).is_file())
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **settings}), encoding="utf-8")
    return folder


def llama(folder: Path, seed: int = 0, **sizes: int) -> Path:
    """Save a tiny random Llama without a tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    standard = {
        "vocab_size": 64,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    set_seed(seed)
    LlamaForCausalLM(LlamaConfig(**{**standard, **sizes})).save_pretrained(folder)
    return folder
