import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.base_layers import base_layers
from fin_plugins.merging.adapters.dense import Weights, merged_change, refactor
from fin_plugins.merging.adapters.factors import Factors, read_factors
from fin_plugins.merging.adapters.measure import rank_for
from fin_plugins.merging.adapters.merge import merge_as_adapter
from fin_plugins.merging.adapters.plan import BASE, Step
from tests.evaluation.making import adapter
from tests.merging.adapters.making import MLP, change, distance, filled, tiny_base, weights_of, without_border

MODULE = "model.layers.1.mlp.up_proj"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("bases") / "llama", num_hidden_layers=2)


@pytest.fixture(scope="module")
def experts(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("experts")
    return {
        "a": adapter(folder / "a", base, 0.05, r=4, target_modules=["q_proj", "up_proj", "down_proj"]),
        "bb": adapter(folder / "bb", base, 0.04, r=4, target_modules=["q_proj", "up_proj"]),
        "ccc": adapter(folder / "ccc", base, 0.03, r=2, target_modules=["up_proj", "o_proj"]),
    }


@pytest.fixture(scope="module")
def checkpoints(base: Path, experts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The experts merged into the base by PEFT, in float32."""
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("checkpoints")
    for name, path in experts.items():
        model = AutoModelForCausalLM.from_pretrained(base)
        model.load_state_dict(weights_of(base, path), strict=False)
        model.save_pretrained(folder / name)
    return {name: folder / name for name in experts}


def by_mergekit(config: Mapping[str, Any], named: Mapping[str, Path], out: Path) -> dict[str, torch.Tensor]:
    """The weights of the checkpoint that mergekit itself writes; models are renamed as `named` says."""
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    models = [{**model, "model": str(named.get(model["model"], model["model"]))} for model in config["models"]]
    said = str(config.get("base_model"))
    content = {**config, "models": models, "dtype": "float32"}
    content |= {"base_model": str(named.get(said, said))} if "base_model" in config else {}
    options = MergeOptions(quiet=True, copy_tokenizer=False, write_model_card=False)
    run_merge(MergeConfiguration.model_validate(content), str(out), options)
    return weights_of(out)


W = {"weight": 0.4}
TRIMMING = ("ties", "breadcrumbs", "breadcrumbs_ties", "sce")
METHODS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "ties": ("ties", {**W, "density": 0.4}, {"lambda": 1.2}),
    "breadcrumbs": ("breadcrumbs", {**W, "density": 0.8, "gamma": 0.05}, {}),
    "breadcrumbs_ties": ("breadcrumbs_ties", {**W, "density": 0.8, "gamma": 0.05}, {}),
    "sce": ("sce", {}, {"select_topk": 0.5}),
    "ram": ("ram", {}, {}),
    "model_stock": ("model_stock", {}, {}),
    # with a base, mergekit fails on tensors that none of three experts changes
    "multislerp without a base": ("multislerp", W, {"with_base": False}),
    "karcher": ("karcher", {}, {"with_base": False}),
}


@pytest.mark.parametrize("name", METHODS)
def test_at_full_rank_it_is_mergekits_checkpoint(
    name: str, base: Path, experts: dict[str, Path], checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    method, each, shared = METHODS[name]
    recipe = filled(base, experts, method, dict.fromkeys(experts, each), **shared)
    merge_as_adapter(recipe, tmp_path / "out", rank=32)
    named = {f"{base}+{experts[expert]}": checkpoints[expert] for expert in experts}
    expected = by_mergekit(recipe.config, named, tmp_path / "checkpoint")
    border = 2 if method in TRIMMING else 0
    assert distance(weights_of(base, tmp_path / "out"), expected, base, border) < 2e-5


@pytest.mark.parametrize("method, parameters", [("slerp", {"t": 0.3}), ("nuslerp", {}), ("nearswap", {"t": 0.01})])
def test_two_experts(
    method: str,
    parameters: dict[str, Any],
    base: Path,
    experts: dict[str, Path],
    checkpoints: dict[str, Path],
    tmp_path: Path,
) -> None:
    two = {name: experts[name] for name in ("a", "bb")}
    each = dict.fromkeys(two, {"weight": 0.5} if method == "nuslerp" else {})
    recipe = filled(base, two, method, each, with_base=method == "nuslerp", **parameters)
    if method != "nuslerp":  # the method's base is the first expert
        recipe.config["base_model"] = f"{base}+{two['a']}"
    merge_as_adapter(recipe, tmp_path / "out", rank=32)
    named = {f"{base}+{two[name]}": checkpoints[name] for name in two}
    expected = by_mergekit(recipe.config, named, tmp_path / "checkpoint")
    assert distance(weights_of(base, tmp_path / "out"), expected, base) < 2e-5


@pytest.mark.parametrize("method", ["model_stock", "multislerp"])
def test_sums_with_weights_from_the_data_are_exact_at_the_sum_of_the_ranks(
    method: str, base: Path, experts: dict[str, Path], tmp_path: Path
) -> None:
    each = dict.fromkeys(experts, {} if method == "model_stock" else W)
    done = merge_as_adapter(filled(base, experts, method, each), tmp_path / "out")
    assert done.rank == 10 and done.residual < 1e-5 and not done.linear


def step(method: str, each: Mapping[str, Mapping[str, float]], inputs: tuple[str, ...] = ()) -> Step:
    names = inputs or tuple(next(iter(each.values())))
    return Step(f"{MODULE}.weight", method, (*names, BASE), BASE, {}, each)


def opened(base: Path, experts: Mapping[str, Path]) -> dict[str, Factors]:
    return {name: read_factors(name, path, base_layers(base)) for name, path in experts.items()}


def test_ties_as_its_paper_says(base: Path, experts: dict[str, Path]) -> None:
    deltas = []
    for path in experts.values():
        delta = change(base, path)[f"{MODULE}.weight"]
        threshold = delta.abs().flatten().kthvalue(delta.numel() - int(0.3 * delta.numel()) + 1).values
        deltas.append(torch.where(delta.abs() >= threshold, delta, 0))  # trim
    trimmed = torch.stack(deltas)
    elected = trimmed.sum(0).sign()
    agree = (trimmed.sign() == elected) & (trimmed != 0)
    expected = (trimmed * agree).sum(0) / agree.sum(0).clamp(min=1)  # disjoint mean
    each = {name: dict.fromkeys(experts, value) for name, value in (("weight", 1.0), ("density", 0.3))}
    found = merged_change(step("ties", each), opened(base, experts), Weights(base, base_layers(base)), 0)
    apart = without_border(found.double() - expected, 2)
    assert float(apart.abs().max()) < 1e-6 * float(expected.abs().max())


def test_small_changes_are_weighed_as_large_ones(base: Path, tmp_path: Path) -> None:
    """Squares of an adapter's changes are below what mergekit takes for none."""
    paths = {
        name: adapter(tmp_path / name, base, scale, target_modules=MLP) for name, scale in (("a", 1e-4), ("b", 4e-4))
    }
    deltas = torch.stack([change(base, path)[f"{MODULE}.weight"] for path in paths.values()])
    shares = deltas.square().flatten(1).mean(1)
    assert shares.sum() < 1e-7
    agree = (deltas.sign() == deltas.sum(0).sign()) * (shares / shares.sum())[:, None, None]
    expected = (deltas * agree).sum(0) / agree.sum(0)
    found = merged_change(
        step("sce", {}, inputs=tuple(paths)), opened(base, paths), Weights(base, base_layers(base)), 0
    )
    assert torch.allclose(found.double(), expected, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("method", ["dare_linear", "della_linear"])
def test_random_methods_keep_their_density_and_expectation(method: str, base: Path, experts: dict[str, Path]) -> None:
    one = {"a": experts["a"]}
    delta = change(base, experts["a"])[f"{MODULE}.weight"].float()
    each = {"weight": {"a": 1.0}, "density": {"a": 0.4}}
    each |= {"epsilon": {"a": 0.1}} if method == "della_linear" else {}
    adapters, weights = opened(base, one), Weights(base, base_layers(base))
    before = torch.random.get_rng_state()
    drawn = torch.stack([merged_change(step(method, each), adapters, weights, seed) for seed in range(100)])
    assert torch.equal(before, torch.random.get_rng_state())
    assert float((drawn != 0).float().mean()) == pytest.approx(0.4, abs=0.005)
    kept = drawn[0] != 0
    factor = (drawn[0] / delta)[kept]
    assert torch.allclose(factor, factor[0], rtol=1e-3)  # what is kept is scaled by one number
    if method == "dare_linear":
        assert float(factor[0]) == pytest.approx(1 / 0.4, rel=0.15)
        apart = drawn.mean(0) - delta
        assert float(apart.norm() / delta.norm()) < 1.5 * (0.6 / 0.4 / 100) ** 0.5
    assert not torch.equal(drawn[0] != 0, drawn[1] != 0)


def test_high_ranks_are_refused_with_the_rank_that_would_do(
    base: Path, experts: dict[str, Path], tmp_path: Path
) -> None:
    """Which layers are named hangs on near-equal residuals; that the rank would do for those named does not."""
    recipe = filled(base, experts, "ties", {name: {"weight": 1.0, "density": 0.3} for name in experts})
    done: list[int] = []
    with pytest.raises(FinError, match=r"lose more than 10% .* pass --rank \d+, .*--max-residual") as error:
        merge_as_adapter(recipe, tmp_path / "out", progress=lambda count, total: done.append(count))
    assert max(done) < 8  # one layer was looked at, of two
    needed = int(str(error.value).split("need rank ")[1].split(":")[0])
    assert 10 < needed <= 32
    named = re.findall(r"(model\.\S+) \d+% at rank", str(error.value))
    merged = merge_as_adapter(recipe, tmp_path / "out", rank=needed, max_residual=1)
    residuals = {layer.module: layer.residual for layer in merged.layers}
    assert named and all(residuals[module] <= 0.1 + 1e-6 for module in named)


def test_the_projection_of_large_matrices_is_nearly_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(200, 30) @ torch.randn(30, 90) + 0.5 * torch.randn(200, 90)
    for one in (matrix, matrix.T):
        best = refactor(one, 20)
        exact = float(torch.linalg.svdvals(one.double())[20:].norm())
        assert float((one - best.dense()).norm()) == pytest.approx(exact, rel=1e-4)
        assert rank_for(one, exact / float(one.norm()) * 1.0001) == 20
        with monkeypatch.context() as patch:
            patch.setattr("fin_plugins.merging.adapters.dense._SMALL", 10)
            near = refactor(one, 20)
            assert near.rank == 20 and near.up.shape == (len(one), 20)
            assert float((one - near.dense()).norm()) == pytest.approx(exact, rel=0.02)
            assert torch.equal(near.up, refactor(one, 20).up)
