"""Every recipe's result, tensor by tensor, against its method written out in float64."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fin_plugins.common.bundled import MERGE_RECIPES
from fin_plugins.merging.checkpoint.tensors import planned
from fin_plugins.merging.model import Expert, Filled
from fin_plugins.merging.recipes.expand import Models
from fin_plugins.merging.recipes.fill import fill, read_recipe
from fin_plugins.merging.recipes.settings import read_settings
from tests.merging.adapters.making import without_border
from tests.merging.checkpoint.references import REFERENCES
from tests.merging.inputs_made import make_adapter, make_checkpoint, weights

pytestmark = pytest.mark.usefixtures("one_thread")

# What is known to be equal in float64 differs by float32's rounding of weights of about 0.02 to 1.
NEAR = {"rtol": 0, "atol": 3e-7}
# The mean of directions is looked for by steps in float32 until one is shorter than `tol`.
STEPS = {"rtol": 0, "atol": 3e-6}
# Of two entries of nearly one size, the last bit decides which is on this side of what is trimmed.
TRIMMING = ("ties", "breadcrumbs", "breadcrumbs_ties", "della", "sce")
TWO = ("slerp", "nuslerp", "layer_swap")
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


def filled(recipe: str, base: Path, experts: dict[str, Path], *sets: str, seed: int = 0) -> Filled:
    listed = tuple(Expert(name, path, (path / "adapter_config.json").is_file()) for name, path in experts.items())
    models = Models(base, str(base), 4, "float32", listed)
    settings, problems = read_settings(sets, (), list(experts))
    assert not problems
    return fill(read_recipe(recipe), models, settings, seed=seed)


def merged(filled: Filled, folder: Path) -> dict[str, torch.Tensor]:
    with planned(filled, folder) as plan:
        return {tensor.name: tensor.value for tensor in plan.tensors}


def changes(base: Path, experts: dict[str, Path]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Of each tensor the base, and the experts' changes of it, in float64."""
    origin, theirs = weights(base), [weights(path) for path in experts.values()]
    return {
        name: (tensor.double(), torch.stack([expert[name].double() - tensor.double() for expert in theirs]))
        for name, tensor in origin.items()
    }


def some(recipe: str, experts: dict[str, Path]) -> dict[str, Path]:
    if recipe.startswith("paper"):
        return {}
    return dict(list(experts.items())[:2]) if recipe in TWO else experts


def test_there_is_a_reference_for_every_recipe() -> None:
    assert set(MERGE_RECIPES.files()) - set(REFERENCES) == {"layer_swap", "paper_2411.02476"}


@pytest.mark.parametrize("recipe", sorted(REFERENCES))
def test_result_is_the_methods(recipe: str, base: Path, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    experts = some(recipe, checkpoints)
    recipe_filled = filled(recipe, base, experts, seed=3)
    shares = torch.tensor([expert.weight or 1.0 for expert in recipe_filled.experts], dtype=torch.float64)
    found = merged(recipe_filled, tmp_path)
    for name, (origin, theirs) in changes(base, experts).items():
        torch.manual_seed(recipe_filled.seed_of(name))
        expected = REFERENCES[recipe](origin, theirs, shares, PARAMETERS.get(recipe, {}))
        near = STEPS if recipe == "karcher" else NEAR
        apart = without_border(found[name].double() - expected, 2 if recipe in TRIMMING else 0)
        assert float(apart.abs().max()) < near["atol"], name


@pytest.mark.parametrize("recipe", ["task_arithmetic", "ties", "dare_ties", "nuslerp", "multislerp", "linear"])
def test_weights_of_single_experts_count(recipe: str, base: Path, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    experts = some(recipe, checkpoints)
    given = [0.7, 0.2, 0.4][: len(experts)]
    sets = [f"{name}.weight={weight}" for name, weight in zip(experts, given, strict=True)]
    recipe_filled = filled(recipe, base, experts, *sets)
    found = merged(recipe_filled, tmp_path)
    for name, (origin, theirs) in changes(base, experts).items():
        torch.manual_seed(recipe_filled.seed_of(name))
        shares = torch.tensor(given, dtype=torch.float64)
        expected = REFERENCES[recipe](origin, theirs, shares, PARAMETERS.get(recipe, {}))
        apart = without_border(found[name].double() - expected, 2 if recipe in TRIMMING else 0)
        assert float(apart.abs().max()) < NEAR["atol"], name


def test_shares_that_sum_to_one_give_the_average(base: Path, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    average, added = (merged(filled(recipe, base, checkpoints), tmp_path) for recipe in ("linear", "task_arithmetic"))
    theirs = [weights(path) for path in checkpoints.values()]
    for name, tensor in added.items():
        exact = torch.stack([expert[name].double() for expert in theirs]).mean(0)
        torch.testing.assert_close(tensor.double(), exact, **NEAR)
        torch.testing.assert_close(average[name].double(), exact, **NEAR)


def test_the_papers_merge_is_the_average_of_its_four(base: Path, tmp_path: Path) -> None:
    names = ("sentiment", "fomc", "headline", "finred")
    experts = {name: make_checkpoint(tmp_path / name, base, seed) for seed, name in enumerate(names, start=10)}
    recipe = filled("paper_2411.02476", base, experts)
    assert recipe.dtype == "float16" and [expert.weight for expert in recipe.experts] == [0.25] * 4
    theirs = [weights(path) for path in experts.values()]
    for name, tensor in merged(recipe, tmp_path).items():
        torch.testing.assert_close(tensor.double(), sum(expert[name].double() for expert in theirs) / 4, **NEAR)


@pytest.mark.parametrize("recipe", ["sce", "model_stock"])
@pytest.mark.parametrize("size", [1e-4, 3e-5])
def test_changes_as_small_as_adapters_make_count(recipe: str, size: float, base: Path, tmp_path: Path) -> None:
    """mergekit by itself weights experts alike in sce below mean squares of 1e-6."""
    experts = {name: make_checkpoint(tmp_path / name, base, seed, size * seed) for seed, name in ((1, "a"), (3, "b"))}
    found = merged(filled(recipe, base, experts), tmp_path)
    for name, (origin, theirs) in changes(base, experts).items():
        expected = REFERENCES[recipe](origin, theirs, torch.ones(2), PARAMETERS.get(recipe, {})) - origin
        # The base is stored in float32: of so small a change, that is what its last bits leave.
        torch.testing.assert_close(found[name].double() - origin, expected, rtol=0, atol=1.2e-7)


@pytest.mark.parametrize("recipe", ["multislerp", "ties", "karcher", "linear"])
def test_what_no_expert_changes_is_the_bases(
    recipe: str, base: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    """Three experts: mergekit's multislerp refuses three changes that are nothing."""
    experts = {**adapters, "c": make_adapter(tmp_path / "c", base, 5)}
    found, origin = merged(filled(recipe, base, experts), tmp_path), weights(base)
    for name in ("lm_head.weight", "model.norm.weight", "model.layers.1.mlp.down_proj.weight"):
        torch.testing.assert_close(found[name], origin[name], rtol=0, atol=0 if recipe != "linear" else 1e-7)
    assert not torch.equal(found["model.layers.1.mlp.up_proj.weight"], origin["model.layers.1.mlp.up_proj.weight"])


def test_layers_are_swapped(base: Path, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    first, second = (weights(checkpoints[name]) for name in ("one", "two"))
    found = merged(filled("layer_swap", base, some("layer_swap", checkpoints)), tmp_path)
    for name, tensor in found.items():
        middle = any(f".layers.{number}." in name for number in (1, 2))
        assert torch.equal(tensor, (second if middle else first)[name]), name


def test_dropping_keeps_the_share_and_the_expectation(base: Path, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """DARE's own claims: a share of `density` stays, scaled by 1 / density; over many draws nothing is lost."""
    one = {"one": checkpoints["one"]}
    name = "model.layers.0.mlp.up_proj.weight"
    origin, theirs = changes(base, one)[name]
    mean = torch.zeros_like(origin)
    for seed in range(24):
        with planned(filled("dare_linear", base, one, "density=0.3", seed=seed), tmp_path) as plan:
            change = next(tensor.value for tensor in plan.tensors if tensor.name == name).double() - origin
        stayed = change.abs() > 1e-7
        assert abs(stayed.double().mean() - 0.3) < 4 * (0.3 * 0.7 / change.numel()) ** 0.5
        # Scaled so that the sum of sizes stays: 1 / density but for the luck of the draw.
        scale = change[stayed] / theirs[0][stayed]
        big = theirs[0][stayed].abs() > 1e-3
        assert scale[big].std() < 1e-3 and abs(scale[big].mean() * 0.3 - 1) < 0.25
        mean += change / 24
    deviation = theirs[0].abs() * (0.7 / 0.3 / 24) ** 0.5
    assert ((mean - theirs[0]).abs() < 5.5 * deviation + 1e-6).all()


def test_the_seed_alone_decides_the_draw(base: Path, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    draws = [merged(filled("dare_ties", base, checkpoints, seed=seed), tmp_path) for seed in (1, 1, 2)]
    name = "model.layers.2.self_attn.q_proj.weight"
    assert all(torch.equal(draws[0][key], draws[1][key]) for key in draws[0])
    assert not torch.equal(draws[0][name], draws[2][name])


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}, {"rank_pattern": {"v_proj": 2}}])
def test_adapters_are_added_as_peft_adds_them(settings: dict[str, Any], base: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "adapter", base, 1, **settings)
    found = merged(filled("task_arithmetic", base, {"only": adapter}), tmp_path)
    for name, expected in by_peft(base, adapter).items():
        torch.testing.assert_close(found[name].double(), expected, **NEAR)


@pytest.mark.parametrize("settings", [{"use_dora": True}, {"bias": "lora_only"}, {"modules_to_save": ["o_proj"]}])
def test_adapters_that_are_no_product_are_added_too(settings: dict[str, Any], base: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "adapter", base, 1, **settings)
    found = merged(filled("task_arithmetic", base, {"only": adapter}), tmp_path / "scratch")
    for name, expected in by_peft(base, adapter).items():
        torch.testing.assert_close(found[name].double(), expected, rtol=0, atol=1e-6)


def by_peft(base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64)
    whole = PeftModel.from_pretrained(model, str(adapter), autocast_adapter_dtype=False).merge_and_unload()
    return {name: tensor for name, tensor in whole.state_dict().items() if name in weights(base)}
