"""One recipe, two ways to merge: into a checkpoint, and into one adapter of full rank."""

from pathlib import Path

import pytest
import torch

from fin_plugins.common.bundled import MERGE_RECIPES
from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.base_model import base_layers
from fin_plugins.merging.adapter_merge import merge_as_adapter
from fin_plugins.merging.checkpoint_merge import merged_tensors
from fin_plugins.merging.merge_plan import plan_adapter_merge
from fin_plugins.merging.recipes.recipe_model import ResolvedRecipe
from tests.merging.model_factories import (
    adapter_recipe,
    make_adapter,
    peft_weights,
    resolve_bundled,
    weights,
    without_border,
)

pytestmark = pytest.mark.usefixtures("one_thread")

FULL_RANK = 32
# Both are in float32, of weights up to 1 in the checkpoint: as a share of the change of the base.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def experts(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Different modules, ranks and sizes; the change of the last is as small as those of real adapters."""
    folder = tmp_path_factory.mktemp("experts")
    settings = {
        "sentiment": {},
        "fomc": {"target_modules": ["q_proj", "up_proj", "down_proj"], "r": 2},
        "headline": {"lora_alpha": 2, "use_rslora": True},
        "finred": {"lora_alpha": 0.1},
    }
    return {name: make_adapter(folder / name, base, seed, **own) for seed, (name, own) in enumerate(settings.items())}


def checkpoint_weights(recipe: ResolvedRecipe, folder: Path) -> dict[str, torch.Tensor]:
    with merged_tensors(recipe, folder) as merge:
        return {tensor.name: tensor.value.double() for tensor in merge.tensors}


def adapter_weights(recipe: ResolvedRecipe, folder: Path) -> dict[str, torch.Tensor]:
    merge_as_adapter(recipe, folder, rank=FULL_RANK)
    return peft_weights(recipe.base, folder)


def largest_distance(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], base: Path) -> float:
    """The largest distance of two tensors, as a share of the change of the base; unchanged tensors must be equal.

    Leaves out two entries of each: trimming methods keep or drop one on the border by the last bit of its size.
    """
    shares = []
    for name, origin in weights(base).items():
        size = float((second[name] - origin).norm())
        distance = float(without_border(first[name] - second[name], 2).norm())
        assert size or not distance, name
        shares.append(distance / size if size else 0.0)
    return max(shares)


@pytest.mark.parametrize("recipe", sorted(MERGE_RECIPES.files()))
def test_a_checkpoint_and_an_adapter_are_the_same_merge(
    recipe: str, base: Path, experts: dict[str, Path], tmp_path: Path
) -> None:
    """Also for random methods: both draw from the seed and the tensor's name."""
    resolved = resolve_bundled(recipe, base, experts, seed=5)
    checkpoint = checkpoint_weights(resolved, tmp_path / "scratch")
    assert largest_distance(adapter_weights(resolved, tmp_path / "out"), checkpoint, base) < TOLERANCE


@pytest.mark.parametrize("recipe", ["dare_linear", "dare_ties", "della"])
def test_another_seed_is_another_merge(recipe: str, base: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    adapter = adapter_weights(resolve_bundled(recipe, base, experts, seed=6), tmp_path / "out")
    checkpoint = checkpoint_weights(resolve_bundled(recipe, base, experts, seed=5), tmp_path / "scratch")
    assert largest_distance(adapter, checkpoint, base) > 0.1


def test_both_report_the_same_error_if_mergekit_rejects_the_recipe(
    base: Path, experts: dict[str, Path], tmp_path: Path
) -> None:
    recipe = resolve_bundled("ties", base, experts)
    recipe.config["models"][0]["parameters"]["density"] = "much"
    messages = []
    for merge in (checkpoint_weights, adapter_weights):
        with pytest.raises(FinError, match=r"^ties: mergekit rejects the recipe for \S+ ") as error:
            merge(recipe, tmp_path / "out")
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def test_experts_keep_the_order_in_which_they_are_named(base: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    """mergekit keeps parameters in a mapping whose order differs from process to process; the files must not."""
    paths = {f"expert{number}": tmp_path / str(number) for number in range(8)}
    for path in paths.values():
        path.symlink_to(experts["sentiment"])
    recipe = adapter_recipe(base, paths, each={name: {"weight": 0.1} for name in paths})
    steps = plan_adapter_merge(recipe, base_layers(base))
    assert steps and all(list(step.input_parameters["weight"])[:8] == list(paths) for step in steps)
