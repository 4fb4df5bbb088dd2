"""Merges into a checkpoint: every recipe, tensor by tensor, against its method in float64, and the files on disk."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from fin_plugins.common.bundled import MERGE_RECIPES
from fin_plugins.common.errors import FinError
from fin_plugins.merging.checkpoint_merge import ShardWriter, merge_as_checkpoint, merged_tensors
from fin_plugins.merging.checkpoints import read_checkpoint
from fin_plugins.merging.recipes.recipe_model import ResolvedRecipe
from tests.merging.method_references import REFERENCES
from tests.merging.model_factories import (
    TWO_EXPERT_RECIPES,
    make_adapter,
    make_checkpoint,
    peft_weights,
    resolve_bundled,
    weights,
    without_border,
)

pytestmark = pytest.mark.usefixtures("one_thread")

# Float32's rounding of weights of about 0.02 to 1; Karcher means are found by steps until one is below `tol`.
TOLERANCE, KARCHER_TOLERANCE = 3e-7, 3e-6
# The last bit decides which of two entries of nearly equal size is trimmed.
TRIMMING = ("ties", "breadcrumbs", "breadcrumbs_ties", "della", "sce")
PARAMETERS = {
    "ties": {"density": 0.2},
    "breadcrumbs": {"density": 0.1, "gamma": 0.01},
    "breadcrumbs_ties": {"density": 0.1, "gamma": 0.01},
    "dare_linear": {"density": 0.5},
    "dare_ties": {"density": 0.5},
    "della": {"density": 0.5, "epsilon": 0.15},
    "slerp": {"t": 0.5},
    "sce": {"select_topk": 0.1},
    "ram": {"epsilon": 1e-5},
}


def merge(recipe: ResolvedRecipe, folder: Path) -> dict[str, torch.Tensor]:
    with merged_tensors(recipe, folder) as stream:
        return {tensor.name: tensor.value for tensor in stream.tensors}


def expert_changes(base: Path, experts: Mapping[str, Path]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """The base's tensor and the experts' changes of it, in float64, by name."""
    of_experts = [weights(path) for path in experts.values()]
    return {
        name: (tensor.double(), torch.stack([expert[name].double() - tensor.double() for expert in of_experts]))
        for name, tensor in weights(base).items()
    }


def assert_is_the_methods(recipe: ResolvedRecipe, weights: list[float], base: Path, folder: Path) -> None:
    """Compare every tensor with the reference of the method."""
    experts = {expert.name: expert.path for expert in recipe.experts}
    merged = merge(recipe, folder)
    tolerance = KARCHER_TOLERANCE if recipe.name == "karcher" else TOLERANCE
    for name, (origin, changes) in expert_changes(base, experts).items():
        torch.manual_seed(recipe.tensor_seed(name))
        shares = torch.tensor(weights, dtype=torch.float64)
        expected = REFERENCES[recipe.name](origin, changes, shares, PARAMETERS.get(recipe.name, {}))
        difference = without_border(merged[name].double() - expected, 2 if recipe.name in TRIMMING else 0)
        assert float(difference.abs().max()) < tolerance, name


def test_every_recipe_has_a_reference() -> None:
    assert set(MERGE_RECIPES.files()) - set(REFERENCES) == {"layer_swap", "paper_2411.02476"}


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_the_result_is_the_methods(name: str, base: Path, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    recipe = resolve_bundled(name, base, checkpoints, seed=3)
    assert_is_the_methods(recipe, [expert.weight or 1.0 for expert in recipe.experts], base, tmp_path)


@pytest.mark.parametrize("name", ["task_arithmetic", "ties", "dare_ties", "nuslerp", "multislerp", "linear"])
def test_weights_of_single_experts_count(name: str, base: Path, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    given = dict(zip(checkpoints, [0.7, 0.2, 0.4][: 2 if name in TWO_EXPERT_RECIPES else 3], strict=False))
    sets = [f"{expert}.weight={weight}" for expert, weight in given.items()]
    assert_is_the_methods(resolve_bundled(name, base, checkpoints, *sets), list(given.values()), base, tmp_path)


def test_shares_that_sum_to_one_give_the_average(base: Path, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    of_experts = [weights(path) for path in checkpoints.values()]
    for recipe in ("linear", "task_arithmetic"):
        for name, tensor in merge(resolve_bundled(recipe, base, checkpoints), tmp_path).items():
            exact = torch.stack([expert[name].double() for expert in of_experts]).mean(0)
            torch.testing.assert_close(tensor.double(), exact, rtol=0, atol=TOLERANCE)


def test_the_papers_merge_is_the_average_of_its_four(base: Path, tmp_path: Path) -> None:
    names = ("sentiment", "fomc", "headline", "finred")
    experts = {name: make_checkpoint(tmp_path / name, base, seed) for seed, name in enumerate(names, start=10)}
    recipe = resolve_bundled("paper_2411.02476", base, experts)
    assert recipe.dtype == "float16" and [expert.weight for expert in recipe.experts] == [0.25] * 4
    of_experts = [weights(path) for path in experts.values()]
    for name, tensor in merge(recipe, tmp_path).items():
        exact = sum(expert[name].double() for expert in of_experts) / 4
        torch.testing.assert_close(tensor.double(), exact, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("recipe", ["sce", "model_stock"])
@pytest.mark.parametrize("size", [1e-4, 3e-5])
def test_changes_as_small_as_those_of_adapters_count(recipe: str, size: float, base: Path, tmp_path: Path) -> None:
    """mergekit alone weights experts equally in sce below mean squares of 1e-6."""
    experts = {name: make_checkpoint(tmp_path / name, base, seed, size * seed) for seed, name in ((1, "a"), (3, "b"))}
    merged = merge(resolve_bundled(recipe, base, experts), tmp_path)
    for name, (origin, changes) in expert_changes(base, experts).items():
        expected = REFERENCES[recipe](origin, changes, torch.ones(2), PARAMETERS.get(recipe, {})) - origin
        # The base is stored in float32, whose last bits are not small compared with such a change.
        torch.testing.assert_close(merged[name].double() - origin, expected, rtol=0, atol=1.2e-7)


@pytest.mark.parametrize("recipe", ["multislerp", "ties", "karcher", "linear"])
def test_what_no_expert_changes_is_the_bases(
    recipe: str, base: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    """With three experts: mergekit's multislerp rejects three changes that are zero."""
    experts = {**adapters, "c": make_adapter(tmp_path / "c", base, 5)}
    merged, origin = merge(resolve_bundled(recipe, base, experts), tmp_path), weights(base)
    for name in ("lm_head.weight", "model.norm.weight", "model.layers.1.mlp.down_proj.weight"):
        torch.testing.assert_close(merged[name], origin[name], rtol=0, atol=0 if recipe != "linear" else 1e-7)
    assert not torch.equal(merged["model.layers.1.mlp.up_proj.weight"], origin["model.layers.1.mlp.up_proj.weight"])


def test_layers_are_swapped(base: Path, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    first, second = (weights(checkpoints[name]) for name in ("one", "two"))
    for name, tensor in merge(resolve_bundled("layer_swap", base, checkpoints), tmp_path).items():
        middle = any(f".layers.{number}." in name for number in (1, 2))
        assert torch.equal(tensor, (second if middle else first)[name]), name


def test_dropping_keeps_the_share_and_the_expectation(base: Path, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """DARE's own claims: a share of `density` stays, scaled by 1 / density; over many draws nothing is lost."""
    expert = {"one": checkpoints["one"]}
    name = "model.layers.0.mlp.up_proj.weight"
    origin, (exact,) = expert_changes(base, expert)[name]
    mean = torch.zeros_like(origin)
    for seed in range(24):
        with merged_tensors(resolve_bundled("dare_linear", base, expert, "density=0.3", seed=seed), tmp_path) as stream:
            change = next(tensor.value for tensor in stream.tensors if tensor.name == name).double() - origin
        kept = change.abs() > 1e-7
        assert abs(kept.double().mean() - 0.3) < 4 * (0.3 * 0.7 / change.numel()) ** 0.5
        # Scaled so that the sum of sizes stays the same: by 1 / density, apart from chance.
        scale = (change[kept] / exact[kept])[exact[kept].abs() > 1e-3]
        assert scale.std() < 1e-3 and abs(scale.mean() * 0.3 - 1) < 0.25
        mean += change / 24
    deviation = exact.abs() * (0.7 / 0.3 / 24) ** 0.5
    assert ((mean - exact).abs() < 5.5 * deviation + 1e-6).all()


def test_only_the_seed_decides_the_draw(base: Path, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    once, again, other = (
        merge(resolve_bundled("dare_ties", base, checkpoints, seed=seed), tmp_path) for seed in (1, 1, 2)
    )
    name = "model.layers.2.self_attn.q_proj.weight"
    assert all(torch.equal(once[key], again[key]) for key in once)
    assert not torch.equal(once[name], other[name])


@pytest.mark.parametrize(
    "settings, tolerance",
    [
        ({}, TOLERANCE),
        ({"use_rslora": True}, TOLERANCE),
        ({"rank_pattern": {"v_proj": 2}}, TOLERANCE),
        # Merged by PEFT, in float32.
        ({"use_dora": True}, 1e-6),
        ({"bias": "lora_only"}, 1e-6),
        ({"modules_to_save": ["o_proj"]}, 1e-6),
    ],
)
def test_adapters_are_added_as_peft_adds_them(
    settings: dict[str, Any], tolerance: float, base: Path, tmp_path: Path
) -> None:
    adapter = make_adapter(tmp_path / "adapter", base, 1, **settings)
    merged = merge(resolve_bundled("task_arithmetic", base, {"only": adapter}), tmp_path / "scratch")
    expected = peft_weights(base, adapter)
    for name in weights(base):
        torch.testing.assert_close(merged[name].double(), expected[name], rtol=0, atol=tolerance)


def test_shards_have_the_names_that_loaders_expect(base: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    states = []
    for name, size in (("one", 1 << 30), ("many", 20_000)):
        (tmp_path / name).mkdir()
        recipe = resolve_bundled("linear", base, adapters)
        merge_as_checkpoint(recipe, read_checkpoint("base", base), tmp_path / name, shard_bytes=size)
        states.append(AutoModelForCausalLM.from_pretrained(tmp_path / name).state_dict())
    assert len(list((tmp_path / "many").glob("model-*-of-*.safetensors"))) > 3
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "gone", 1 << 20)
    writer.add("one", torch.ones(3))
    with pytest.raises(FinError, match=r"gone: cannot be written"):
        writer.close()
