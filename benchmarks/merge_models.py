"""Bases and adapters of random weights in the shapes of real models, written as checkpoints; the tokenizer is real."""

import json
import shutil
from pathlib import Path

import torch

from fin_plugins.demo import demo_model
from fin_plugins.evaluation.base_model import base_layers, header_shapes
from fin_plugins.merging.adapter_files import write_adapter
from fin_plugins.merging.low_rank import LowRankMatrix

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# Width, inner width, layers, heads, key heads: Llama 3.2 and 3. The vocabulary is the demo model's, tied.
SHAPES = {
    "tiny": (64, 128, 2, 4, 2),
    "1b": (2048, 8192, 16, 32, 8),
    "3b": (3072, 8192, 28, 24, 8),
    "8b": (4096, 14336, 32, 32, 8),
}


def make_base(folder: Path, shape: str) -> Path:
    """The demo model for `135m`; else a random model in bfloat16, layer by layer, in files of one layer each."""
    from transformers import AutoConfig

    demo = demo_model()
    if shape == "135m":
        return demo
    folder.mkdir(parents=True)
    for file in demo.iterdir():
        if not file.name.endswith(".safetensors") and file.is_file():
            shutil.copy(file, folder / file.name)
    width, inner, layers, heads, key_heads = SHAPES[shape]
    config = AutoConfig.from_pretrained(demo).to_dict()
    sizes = {"hidden_size": width, "intermediate_size": inner, "num_hidden_layers": layers}
    sizes |= {"num_attention_heads": heads, "num_key_value_heads": key_heads, "head_dim": width // heads}
    (folder / "config.json").write_text(json.dumps({**config, **sizes}))
    _write_weights(folder, width, inner, layers, width // heads * key_heads, int(config["vocab_size"]))
    return folder


def _write_weights(folder: Path, width: int, inner: int, layers: int, keys: int, vocabulary: int) -> None:
    """The embeddings and then each layer, in the order and under the names of a Llama."""
    matrices = {f"self_attn.{name}_proj": (size, width) for name, size in (("q", width), ("k", keys), ("v", keys))}
    matrices |= {"self_attn.o_proj": (width, width), "mlp.down_proj": (width, inner)}
    matrices |= dict.fromkeys(("mlp.gate_proj", "mlp.up_proj"), (inner, width))
    shards = [{"model.embed_tokens.weight": (vocabulary, width), "model.norm.weight": (width,)}]
    norms = dict.fromkeys(("input_layernorm", "post_attention_layernorm"), (width,))
    for layer in range(layers):
        parts: dict[str, tuple[int, ...]] = {**matrices, **norms}
        shards.append({f"model.layers.{layer}.{name}.weight": shape for name, shape in parts.items()})
    index = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        _write_shard(folder / name, shard)
        index.update(dict.fromkeys(shard, name))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def _write_shard(file: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    from safetensors.torch import save_file

    tensors = {
        name: torch.ones(shape) if len(shape) == 1 else 0.02 * torch.randn(shape) for name, shape in shapes.items()
    }
    save_file({name: tensor.bfloat16() for name, tensor in tensors.items()}, file, metadata={"format": "pt"})


def make_adapter(folder: Path, base: Path, rank: int, seed: int) -> Path:
    """A random adapter of all projections, in float32; its change is about one per cent of random weights."""
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
