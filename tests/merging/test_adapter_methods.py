"""Merges into an adapter by methods that are not linear, against mergekit's checkpoints and the papers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from fin_plugins.common.errors import FinError
from fin_plugins.merging.adapter_merge import AdapterMerger, merge_as_adapter
from fin_plugins.merging.merge_plan import BASE, TensorStep
from tests.merging.model_factories import (
    MLP,
    adapter_recipe,
    make_adapter,
    make_base,
    peft_changes,
    peft_weights,
    relative_distance,
    required_rank_and_modules,
    without_border,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("bases") / "llama", None, num_hidden_layers=2)


@pytest.fixture(scope="module")
def experts(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("experts")
    settings = {
        "a": {"target_modules": ["q_proj", "up_proj", "down_proj"]},
        "b": {"target_modules": ["q_proj", "up_proj"]},
        "c": {"target_modules": ["up_proj", "o_proj"], "r": 2},
    }
    return {name: make_adapter(folder / name, base, seed, **own) for seed, (name, own) in enumerate(settings.items())}


@pytest.fixture(scope="module")
def merged_experts(base: Path, experts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The experts merged into the base by PEFT, as checkpoints in float32."""
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("checkpoints")
    for name, path in experts.items():
        model = AutoModelForCausalLM.from_pretrained(base)
        model.load_state_dict(peft_weights(base, path), strict=False)
        model.save_pretrained(folder / name)
    return {name: folder / name for name in experts}


def mergekit_weights(config: Mapping[str, Any], paths: Mapping[str, Path], out: Path) -> dict[str, torch.Tensor]:
    """The weights of the checkpoint that mergekit alone writes.

    Args:
        config: mergekit's configuration.
        paths: checkpoints that replace models of the configuration.
        out: folder of the checkpoint.
    """
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    models = [{**entry, "model": str(paths.get(entry["model"], entry["model"]))} for entry in config["models"]]
    content = {**config, "models": models, "dtype": "float32"}
    if "base_model" in config:
        content["base_model"] = str(paths.get(config["base_model"], config["base_model"]))
    options = MergeOptions(quiet=True, copy_tokenizer=False, write_model_card=False)
    run_merge(MergeConfiguration.model_validate(content), str(out), options)
    return peft_weights(out)


W = {"weight": 0.4}
TRIMMING = ("ties", "breadcrumbs", "breadcrumbs_ties", "sce")
METHODS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "ties": ("abc", {**W, "density": 0.4}, {"lambda": 1.2}),
    "breadcrumbs": ("abc", {**W, "density": 0.8, "gamma": 0.05}, {}),
    "breadcrumbs_ties": ("abc", {**W, "density": 0.8, "gamma": 0.05}, {}),
    "sce": ("abc", {}, {"select_topk": 0.5}),
    "ram": ("abc", {}, {}),
    "model_stock": ("abc", {}, {}),
    # With a base, mergekit fails on tensors that none of three experts changes.
    "multislerp": ("abc", W, {"with_base": False}),
    "karcher": ("abc", {}, {"with_base": False}),
    "nuslerp": ("ab", {"weight": 0.5}, {}),
    # The base of these methods is the first expert.
    "slerp": ("ab", {}, {"t": 0.3, "with_base": False}),
    "nearswap": ("ab", {}, {"t": 0.01, "with_base": False}),
}


@pytest.mark.parametrize("method", METHODS)
def test_at_full_rank_it_is_mergekits_checkpoint(
    method: str, base: Path, experts: dict[str, Path], merged_experts: dict[str, Path], tmp_path: Path
) -> None:
    names, each, parameters = METHODS[method]
    experts = {name: experts[name] for name in names}
    recipe = adapter_recipe(base, experts, method, dict.fromkeys(experts, each), **parameters)
    if method in ("slerp", "nearswap"):
        recipe.config["base_model"] = f"{base}+{experts['a']}"
    merge_as_adapter(recipe, tmp_path / "out", rank=32)
    paths = {f"{base}+{path}": merged_experts[name] for name, path in experts.items()}
    expected = mergekit_weights(recipe.config, paths, tmp_path / "checkpoint")
    border = 2 if method in TRIMMING else 0
    assert relative_distance(peft_weights(base, tmp_path / "out"), expected, base, border) < 2e-5


@pytest.mark.parametrize("method", ["model_stock", "multislerp"])
def test_sums_with_weights_from_the_data_are_exact_at_the_sum_of_the_ranks(
    method: str, base: Path, experts: dict[str, Path], tmp_path: Path
) -> None:
    each = dict.fromkeys(experts, {} if method == "model_stock" else W)
    merge = merge_as_adapter(adapter_recipe(base, experts, method, each), tmp_path / "out")
    assert merge.rank == 10 and merge.residual < 1e-5 and not merge.linear


MODULE = "model.layers.1.mlp.up_proj"


def change_by(
    method: str, base: Path, experts: Mapping[str, Path], parameters: dict[str, float], *seeds: int
) -> list[torch.Tensor]:
    """The changes that a method makes to `MODULE` with the same parameters for all experts, one per seed."""
    merger = AdapterMerger(adapter_recipe(base, experts))
    each = {name: dict.fromkeys(experts, value) for name, value in parameters.items()}
    step = TensorStep(f"{MODULE}.weight", method, (*experts, BASE), BASE, {}, each)
    return [merger.method_change(step, seed) for seed in seeds or (0,)]


def test_ties_is_the_papers_algorithm(base: Path, experts: dict[str, Path]) -> None:
    trimmed = []
    for path in experts.values():
        change = peft_changes(base, path)[f"{MODULE}.weight"]
        threshold = change.abs().flatten().kthvalue(change.numel() - int(0.3 * change.numel()) + 1).values
        trimmed.append(torch.where(change.abs() >= threshold, change, 0))
    changes = torch.stack(trimmed)
    elected = changes.sum(0).sign()
    agree = (changes.sign() == elected) & (changes != 0)
    expected = (changes * agree).sum(0) / agree.sum(0).clamp(min=1)  # disjoint mean
    (actual,) = change_by("ties", base, experts, {"weight": 1.0, "density": 0.3})
    difference = without_border(actual.double() - expected, 2)
    assert float(difference.abs().max()) < 1e-6 * float(expected.abs().max())


def test_sce_weighs_small_changes_like_large_ones(base: Path, tmp_path: Path) -> None:
    """The squares of an adapter's changes are below what mergekit treats as zero."""
    sizes = {"a": 1e-3, "b": 2e-3}
    paths = {
        name: make_adapter(tmp_path / name, base, seed, size, target_modules=MLP, lora_alpha=40)
        for seed, (name, size) in enumerate(sizes.items())
    }
    changes = torch.stack([peft_changes(base, path)[f"{MODULE}.weight"] for path in paths.values()])
    shares = changes.square().flatten(1).mean(1)
    assert shares.sum() < 1e-7
    agree = (changes.sign() == changes.sum(0).sign()) * (shares / shares.sum())[:, None, None]
    expected = (changes * agree).sum(0) / agree.sum(0)
    (actual,) = change_by("sce", base, paths, {})
    assert torch.allclose(actual.double(), expected, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("method", ["dare_linear", "della_linear"])
def test_random_methods_keep_their_density_and_expectation(method: str, base: Path, experts: dict[str, Path]) -> None:
    expert = {"a": experts["a"]}
    change = peft_changes(base, experts["a"])[f"{MODULE}.weight"].float()
    parameters = {"weight": 1.0, "density": 0.4, **({"epsilon": 0.1} if method == "della_linear" else {})}
    before = torch.random.get_rng_state()
    draws = torch.stack(change_by(method, base, expert, parameters, *range(100)))
    assert torch.equal(before, torch.random.get_rng_state())
    assert float((draws != 0).float().mean()) == pytest.approx(0.4, abs=0.005)
    kept = draws[0] != 0
    factor = (draws[0] / change)[kept]
    assert torch.allclose(factor, factor[0], rtol=1e-3)  # one factor for all entries that are kept
    if method == "dare_linear":
        assert float(factor[0]) == pytest.approx(1 / 0.4, rel=0.15)
        difference = draws.mean(0) - change
        assert float(difference.norm() / change.norm()) < 1.5 * (0.6 / 0.4 / 100) ** 0.5
    assert not torch.equal(draws[0] != 0, draws[1] != 0)


def test_ranks_that_are_too_low_are_refused_after_one_layer(
    base: Path, experts: dict[str, Path], tmp_path: Path
) -> None:
    recipe = adapter_recipe(base, experts, "ties", {name: {"weight": 1.0, "density": 0.3} for name in experts})
    done: list[int] = []
    with pytest.raises(FinError, match=r"more than 10% .* --rank \d+, .*--max-residual") as error:
        merge_as_adapter(recipe, tmp_path / "out", progress=lambda count, total: done.append(count))
    assert max(done) < 8  # of two layers
    needed, named = required_rank_and_modules(error.value)
    assert 10 < needed <= 32
    merge = merge_as_adapter(recipe, tmp_path / "out", rank=needed, max_residual=1)
    residuals = {module.module: module.residual for module in merge.modules}
    assert named and all(residuals[module] <= 0.1 + 1e-6 for module in named)
