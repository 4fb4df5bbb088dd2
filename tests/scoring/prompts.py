"""Requests of real task files, and adapters of random weights."""

from pathlib import Path
from typing import Any


def requests_of(lm: Any, name: str, documents: int, chat: bool = True) -> list[Any]:
    """lm-eval's requests for the first documents of a task of ours, in the model's chat template."""
    from lm_eval.tasks import TaskManager

    from fin_plugins.locations import task_folder

    task = TaskManager(include_defaults=False, include_path=str(task_folder())).load([name])["tasks"][name]
    task.build_all_requests(
        limit=documents,
        rank=0,
        world_size=1,
        apply_chat_template=chat,
        chat_template=lm.apply_chat_template if chat else None,
        tokenizer_name=lm.tokenizer_name,
    )
    return task.instances


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
