"""Small random models and adapters, and requests for them; weights are large, so that a wrong mask shows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, set_seed

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
VOCABULARY = 320  # of a tiny model; its tokenizer has 258 tokens


def save_tiny(folder: Path, tokenizer: Path, model_class: type[PreTrainedModel], config: Any) -> Path:
    """Save a random model with a copy of a tokenizer as a checkpoint."""
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    set_seed(11)
    model_class(config).save_pretrained(folder)
    return folder


def tiny_adapter(base: Path, folder: Path, seed: int, rank: int = 4) -> Path:
    """Save a LoRA adapter of seeded random weights, large enough to change answers."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(r=rank, lora_alpha=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    model.save_pretrained(folder)
    return folder


def instances(pairs: Sequence[tuple], kind: str = "loglikelihood", task: str = "task") -> list[Instance]:
    """Build requests as lm-eval does, one per pair; pairs with the same context belong to one document."""
    documents = {context: number for number, context in enumerate(dict.fromkeys(pair[0] for pair in pairs))}
    return [Instance(kind, {}, pair, 0, metadata=(task, documents[pair[0]], 1)) for pair in pairs]


def close(ours: Sequence[tuple[float, bool]], stock: Sequence[tuple[float, bool]], tolerance: float = 1e-4) -> bool:
    """Whether log-likelihoods agree within `tolerance` nats, and `is_greedy` exactly."""
    assert len(ours) == len(stock)
    return all(abs(a - b) <= tolerance and g is h for (a, g), (b, h) in zip(ours, stock, strict=True))
