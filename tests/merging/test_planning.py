"""One recipe, two ways to merge: into a checkpoint, and into one adapter of full rank."""

from pathlib import Path

import pytest
import torch

from fin_plugins.common.bundled import MERGE_RECIPES
from fin_plugins.common.errors import FinError
from fin_plugins.merging.adapters.merge import merge_as_adapter
from fin_plugins.merging.checkpoint.tensors import planned
from fin_plugins.merging.model import Expert, Filled
from fin_plugins.merging.recipes.expand import Models
from fin_plugins.merging.recipes.fill import fill, read_recipe
from fin_plugins.merging.recipes.settings import read_settings
from tests.merging.adapters.making import weights_of, without_border
from tests.merging.inputs_made import make_adapter, weights

pytestmark = pytest.mark.usefixtures("one_thread")

TWO = ("slerp", "nuslerp", "layer_swap")
FOUR = ("sentiment", "fomc", "headline", "finred")
FULL_RANK = 32
# Both are float32, of weights up to 1 in the checkpoint: as a share of the change of the base.
NEAR = 1e-4


@pytest.fixture(scope="module")
def experts(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of different modules, ranks and sizes, the last as small as real adapters' changes are."""
    folder = tmp_path_factory.mktemp("experts")
    settings = [
        {},
        {"target_modules": ["q_proj", "up_proj", "down_proj"], "r": 2},
        {"lora_alpha": 2, "use_rslora": True},
        {"lora_alpha": 0.1},
    ]
    named = enumerate(zip(FOUR, settings, strict=True))
    return {name: make_adapter(folder / name, base, seed, **own) for seed, (name, own) in named}


def filled(recipe: str, base: Path, experts: dict[str, Path], seed: int = 5) -> Filled:
    count = 2 if recipe in TWO else 4
    listed = tuple(Expert(name, path, True) for name, path in list(experts.items())[:count])
    settings, problems = read_settings((), (), list(experts))
    assert not problems
    return fill(read_recipe(recipe), Models(base, str(base), 4, "float32", listed), settings, seed=seed)


def as_checkpoint(recipe: Filled, folder: Path) -> dict[str, torch.Tensor]:
    with planned(recipe, folder) as plan:
        return {tensor.name: tensor.value.double() for tensor in plan.tensors}


def as_adapter(recipe: Filled, folder: Path) -> dict[str, torch.Tensor]:
    merge_as_adapter(recipe, folder, rank=FULL_RANK)
    return weights_of(recipe.base, folder)


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], base: Path) -> float:
    """The largest distance of two tensors, as a share of the change of the base; one that did not change is equal.

    But for two entries of each: methods that trim keep or drop one on the border by the last bit of its size.
    """
    shares = []
    for name, origin in weights(base).items():
        size = float((other[name] - origin).norm())
        distance = float(without_border(one[name] - other[name], 2).norm())
        assert size or not distance, name
        shares.append(distance / size if size else 0.0)
    return max(shares)


@pytest.mark.parametrize("recipe", sorted(MERGE_RECIPES.files()))
def test_a_checkpoint_and_an_adapter_are_one_merge(
    recipe: str, base: Path, experts: dict[str, Path], tmp_path: Path
) -> None:
    """Random methods too: both draw from the seed and the tensor's name."""
    asked = filled(recipe, base, experts)
    whole, small = as_checkpoint(asked, tmp_path / "scratch"), as_adapter(asked, tmp_path / "out")
    assert apart(small, whole, base) < NEAR


@pytest.mark.parametrize("recipe", ["dare_linear", "dare_ties", "della"])
def test_another_seed_is_another_merge(recipe: str, base: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    small = as_adapter(filled(recipe, base, experts, seed=6), tmp_path / "out")
    assert apart(small, as_checkpoint(filled(recipe, base, experts), tmp_path / "scratch"), base) > 0.1


def test_both_say_the_same_of_a_recipe_that_mergekit_does_not_take(
    base: Path, experts: dict[str, Path], tmp_path: Path
) -> None:
    asked = filled("ties", base, experts)
    asked.config["models"][0]["parameters"]["density"] = "much"
    said = []
    for merge in (as_checkpoint, as_adapter):
        with pytest.raises(
            FinError, match=r"^ties: mergekit does not take the recipe for \S+ \(.*\): mend it$"
        ) as error:
            merge(asked, tmp_path / "out")
        said.append(str(error.value))
    assert said[0] == said[1]
