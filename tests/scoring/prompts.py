"""Adapters of random weights."""

from pathlib import Path


def tiny_adapter(base: Path, folder: Path, seed: int, rank: int = 4) -> Path:
    """A LoRA adapter of seeded random weights, large enough to change answers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    config = LoraConfig(r=rank, lora_alpha=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    model.save_pretrained(folder)
    return folder
