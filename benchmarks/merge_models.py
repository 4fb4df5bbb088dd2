"""Base checkpoints and adapters with random weights, in the shapes of real models and with a real tokenizer."""

import json
import shutil
from pathlib import Path

import torch

from fin_plugins.demo import demo_model
from fin_plugins.evaluation.base_model import base_layers, header_shapes
from fin_plugins.merging.adapter_files import write_adapter
from fin_plugins.merging.low_rank import LowRankMatrix

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# Llama 3.2 and 3: hidden size, intermediate size, layers, attention heads, key-value heads. The vocabulary is the demo
# model's; embeddings are tied.
SHAPES = {
    "tiny": (64, 128, 2, 4, 2),
    "1b": (2048, 8192, 16, 32, 8),
    "3b": (3072, 8192, 28, 24, 8),
    "8b": (4096, 14336, 32, 32, 8),
}


def make_base(folder: Path, shape: str) -> Path:
    """The demo model for `135m`, otherwise a random bfloat16 model in `folder`, with one file per layer."""
    from transformers import AutoConfig

    demo = demo_model()
    if shape == "135m":
        return demo
    folder.mkdir(parents=True)
    for file in demo.iterdir():
        if not file.name.endswith(".safetensors") and file.is_file():
            shutil.copy(file, folder / file.name)
    hidden, intermediate, layers, heads, key_heads = SHAPES[shape]
    config = AutoConfig.from_pretrained(demo).to_dict()
    sizes = {"hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": layers}
    sizes |= {"num_attention_heads": heads, "num_key_value_heads": key_heads, "head_dim": hidden // heads}
    (folder / "config.json").write_text(json.dumps({**config, **sizes}))
    _write_weights(folder, hidden, intermediate, layers, hidden // heads * key_heads, int(config["vocab_size"]))
    return folder


def _write_weights(folder: Path, hidden: int, intermediate: int, layers: int, keys: int, vocabulary: int) -> None:
    """Write the embeddings, then each layer, in the order and with the names of a Llama."""
    parts: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.down_proj": (hidden, intermediate),
        "mlp.gate_proj": (intermediate, hidden),
        "mlp.up_proj": (intermediate, hidden),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
    }
    shards: list[dict[str, tuple[int, ...]]]
    shards = [{"model.embed_tokens.weight": (vocabulary, hidden), "model.norm.weight": (hidden,)}]
    for layer in range(layers):
        shards.append({f"model.layers.{layer}.{name}.weight": shape for name, shape in parts.items()})
    weight_map = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        _write_shard(folder / name, shard)
        weight_map.update(dict.fromkeys(shard, name))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def _write_shard(file: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    from safetensors.torch import save_file

    tensors = {
        name: torch.ones(shape) if len(shape) == 1 else 0.02 * torch.randn(shape) for name, shape in shapes.items()
    }
    save_file({name: tensor.bfloat16() for name, tensor in tensors.items()}, file, metadata={"format": "pt"})


def make_adapter(folder: Path, base: Path, rank: int, seed: int) -> Path:
    """A random float32 adapter of all projections; its change is about one per cent of the size of random weights."""
    torch.manual_seed(seed)
    products = {}
    for file in sorted(base.glob("*.safetensors")):
        for name, shape in header_shapes(file).items():
            module = name.removesuffix(".weight")
            if module.endswith(PROJECTIONS):
                up, down = torch.randn(shape[0], rank), torch.randn(rank, shape[1])
                products[module] = LowRankMatrix(up * 0.0002 / rank**0.5, down)
    write_adapter(folder, products, str(base), sorted(PROJECTIONS), base_layers(base))
    return folder
