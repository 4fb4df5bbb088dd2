"""The memory that a merge takes: two shards, and one layer of every input."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT
from tests.merging.model_factories import make_adapter, weights

# Models large enough to notice one that is held in memory take a minute.
pytestmark = pytest.mark.prove

LAYERS = 64
SHARD = 2 << 20
ENTIRE_MODEL = 1 << 40
# The plan of about 600 tensors, and what the allocator keeps (40 MB for methods that sort, whatever the model's size);
# an entire input is 86 MB in bfloat16, the result 172 MB.
SLACK = 48 << 20
SIZES = {
    "vocab_size": 2048,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 8,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three checkpoints of 86 MB, and two adapters of the first."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(2)
    folder = tmp_path_factory.mktemp("large")
    model = LlamaForCausalLM(LlamaConfig(**SIZES, dtype="bfloat16")).to(torch.bfloat16)
    for name in ("base", "one", "two"):
        model.save_pretrained(folder / name)
        for weight in model.parameters():
            weight.data += 0.01 * torch.randn(weight.shape, dtype=weight.dtype)
    for seed, name in enumerate(("a", "b")):
        make_adapter(folder / name, folder / "base", seed, target_modules="all-linear")
    return {file.name: file for file in folder.iterdir()}


def peak_memory(
    recipe: str, shard: int, models: dict[str, Path], experts: list[str], small: list[Path], out: Path
) -> int:
    """Peak memory of the merge in bytes, measured in a process of its own."""
    folders = [out, *small, models["base"], *(models[name] for name in experts)]
    command = [sys.executable, "-m", "tests.merging.memory_probe", recipe, str(shard), *map(str, folders)]
    return int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def bound(base: Path, inputs: int) -> int:
    layer = [tensor for name, tensor in weights(base).items() if ".layers.0." in name]
    return 2 * SHARD + inputs * sum(tensor.numel() for tensor in layer) * 4 + SLACK


@pytest.fixture(scope="module")
def small(base: Path, checkpoints: dict[str, Path]) -> list[Path]:
    return [base, checkpoints["one"]]


@pytest.mark.parametrize(
    ("recipe", "experts"),
    [
        ("task_arithmetic", ["one", "two"]),
        ("ties", ["one", "two"]),
        ("sce", ["one", "two"]),
        ("task_arithmetic", ["a", "b"]),
    ],
)
def test_two_shards_and_a_layer_of_every_input(
    recipe: str, experts: list[str], models: dict[str, Path], small: list[Path], tmp_path: Path
) -> None:
    assert peak_memory(recipe, SHARD, models, experts, small, tmp_path / "out") < bound(models["base"], 3)
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > LAYERS


def test_the_measurement_notices_an_entire_model(models: dict[str, Path], small: list[Path], tmp_path: Path) -> None:
    """With a shard of unlimited size, the entire result is held."""
    result = 4 * sum(tensor.numel() for tensor in weights(models["base"]).values())
    peak = peak_memory("task_arithmetic", ENTIRE_MODEL, models, ["one", "two"], small, tmp_path / "out")
    assert peak > result > 2 * bound(models["base"], 3)
