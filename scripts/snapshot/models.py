"""Tiny models, adapters and tokenizers, identical in every run."""

import json
import shutil
from pathlib import Path

from snapshot.commands import ROOT

TEMPLATE_FOLDER = ROOT / "tests" / "fixtures" / "templates"


def make_model(folder: Path, template: str) -> Path:
    """A random Llama with four layers, whose weights are large so that its answers differ."""
    from tests.conftest import byte_tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    tokenizer = byte_tokenizer(template)
    tokenizer.save_pretrained(folder)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "max_position_embeddings": 8192}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2}
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    set_seed(5)
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes, **heads, **ids)).save_pretrained(folder)
    return folder


def make_adapter(folder: str, base: Path, seed: int) -> Path:
    """A LoRA adapter with random factors."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "up_proj"])
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = 0.2 * torch.randn(parameter.shape)
    model.save_pretrained(folder)
    return Path(folder)


def make_checkpoint(folder: str, base: Path, seed: int) -> Path:
    """The base with noise on every weight, like a full fine-tune."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(base, folder)
    generator = torch.Generator().manual_seed(seed)
    tensors = load_file(base / "model.safetensors")
    noisy = {name: tensor + 0.05 * torch.randn(tensor.shape, generator=generator) for name, tensor in tensors.items()}
    save_file(noisy, Path(folder) / "model.safetensors", metadata={"format": "pt"})
    return Path(folder)


def make_tokenizers(folder: Path) -> None:
    """The tokenizers that seeded faults name: `words`, which knows three labels and no other words, and `bytes`."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    end, unknown = "</s>", "<unk>"
    labels = [unknown, end, "label:", "refund", "delivery", "praise"]
    alphabet = [end, unknown, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(labels)}, unk_token=unknown))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    letters = Tokenizer(models.BPE(vocab={char: number for number, char in enumerate(alphabet)}, merges=[]))
    letters.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    for name, backend in {"words": words, "bytes": letters}.items():
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=end, unk_token=unknown)
        tokenizer.save_pretrained(folder / name)
        config = {"model_type": "llama", "max_position_embeddings": 4096}
        (folder / name / "config.json").write_text(json.dumps(config), encoding="utf-8")
