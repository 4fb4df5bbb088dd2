"""Merges into an adapter by linear methods, against PEFT in float64; errors and ranks."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fin_plugins.common.errors import FinError
from fin_plugins.merging.adapter_merge import merge_as_adapter
from tests.merging.model_factories import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    MLP,
    adapter_recipe,
    change_tensors,
    make_adapter,
    make_base,
    peft_weights,
    relative_distance,
    required_rank_and_modules,
    weighted_weights,
)

pytestmark = pytest.mark.usefixtures("one_thread")

WEIGHTS = {"one": 0.7, "two": -0.45, "three": 1.3}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("bases") / "llama", None)


@pytest.fixture(scope="module")
def experts(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Different ranks, scales and modules; the last one changes two layers only."""
    folder = tmp_path_factory.mktemp("experts")
    settings: dict[str, dict[str, Any]] = {
        "one": {"target_modules": ["q_proj", *MLP]},
        "two": {"r": 3, "lora_alpha": 5, "use_rslora": True, "target_modules": ["q_proj"]},
        "three": {
            "r": 2,
            "rank_pattern": {"layers.1.mlp.up_proj": 6},
            "alpha_pattern": {"up_proj": 3},
            "target_modules": ["k_proj", "up_proj"],
            "layers_to_transform": [1, 3],
        },
    }
    return {
        name: make_adapter(folder / name, base, seed, 0.2, **own) for seed, (name, own) in enumerate(settings.items())
    }


def by_weight(**weights: Any) -> dict[str, dict[str, Any]]:
    return {name: {"weight": weight} for name, weight in weights.items()}


@pytest.mark.parametrize("dtype, error", [("float32", 1e-6), ("bfloat16", 3e-3), ("float16", 1e-3)])
def test_task_arithmetic_is_the_float64_merge(
    base: Path, experts: dict[str, Path], tmp_path: Path, dtype: str, error: float
) -> None:
    recipe = adapter_recipe(base, experts, each=by_weight(**WEIGHTS), **{"lambda": 1.1})
    merge = merge_as_adapter(recipe, tmp_path / "out", dtype=dtype)
    expected = weighted_weights(base, {experts[name]: 1.1 * weight for name, weight in WEIGHTS.items()})
    distance = relative_distance(peft_weights(base, tmp_path / "out"), expected, base)
    assert distance <= error
    assert merge.rounding == pytest.approx(distance, rel=0.05, abs=1e-7) and merge.residual == 0
    # Rank 6 of `three` beside rank 4 of `one`; rank 4 + 3 in every q_proj.
    assert {module.module: module.rank for module in merge.modules}["model.layers.1.mlp.up_proj"] == 10
    assert (merge.rank, merge.engine_rank, len(merge.modules)) == (10, 16, 4 * 4 + 2)


@pytest.mark.parametrize("kind, settings", [("Llama", {}), ("Qwen2", {}), ("Gemma2", {"head_dim": 16})])
def test_logits_are_those_of_the_merged_weights(kind: str, settings: dict[str, Any], tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    def logits(model: Any) -> torch.Tensor:
        with torch.no_grad():
            out: torch.Tensor = model(torch.arange(12)[None]).logits
        return out

    base = make_base(tmp_path / "base", None, kind, **settings)
    one = make_adapter(tmp_path / "one", base, 0, target_modules="all-linear")
    two = make_adapter(tmp_path / "two", base, 1, r=2, target_modules=["v_proj", "o_proj"])
    merge_as_adapter(adapter_recipe(base, {"one": one, "two": two}, each=by_weight(one=0.6, two=0.5)), tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64)
    base_logits = logits(model)
    model.load_state_dict(weighted_weights(base, {one: 0.6, two: 0.5}), strict=False)
    expected = logits(model)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64)
    adapted = PeftModel.from_pretrained(model, str(tmp_path / "out"), autocast_adapter_dtype=False).double()
    change = (expected - base_logits).abs().max()
    assert change > 0.01 and (logits(adapted) - expected).abs().max() < 1e-5 * change


def test_peft_concatenates_to_the_same(base: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    paths = {name: make_adapter(tmp_path / name, base, rank, r=rank) for name, rank in (("one", 4), ("second", 2))}
    merge_as_adapter(adapter_recipe(base, paths, each=by_weight(one=0.3, second=0.8)), tmp_path / "out")
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(paths["one"]), "one")
    model.load_adapter(str(paths["second"]), "second")
    model.add_weighted_adapter(["one", "second"], [0.3, 0.8], "both", combination_type="cat")
    model.load_adapter(str(tmp_path / "out"), "ours")
    for module in model.modules():
        if hasattr(module, "get_delta_weight"):
            theirs, ours = module.get_delta_weight("both"), module.get_delta_weight("ours")
            assert torch.allclose(theirs, ours, atol=1e-5 * float(theirs.detach().abs().max()))


def test_shares_that_sum_to_one_average_the_experts(base: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    single = [peft_weights(base, path) for path in experts.values()]
    average = {name: sum(weights[name] for weights in single) / 3 for name in single[0]}
    for method, with_base in (("task_arithmetic", True), ("linear", False)):
        each = by_weight(**dict.fromkeys(experts, 1 / 3 if with_base else 1.0))
        merge_as_adapter(adapter_recipe(base, experts, method, each, with_base=with_base), tmp_path / method)
        assert relative_distance(peft_weights(base, tmp_path / method), average, base) < 1e-6


def test_the_base_may_be_averaged_too(base: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    weights = [(str(base), 3.0), (f"{base}+{experts['one']}", 1.0)]
    config = {"models": [{"model": model, "parameters": {"weight": weight}} for model, weight in weights]}
    recipe = adapter_recipe(base, {"one": experts["one"]}, "linear", with_base=False, config=config)
    merge_as_adapter(recipe, tmp_path / "out")
    expected = weighted_weights(base, {experts["one"]: 0.25})
    assert relative_distance(peft_weights(base, tmp_path / "out"), expected, base) < 1e-6


def test_an_expert_may_be_the_base_of_the_method(base: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    references = {name: f"{base}+{experts[name]}" for name in ("one", "two")}
    config = {"models": [{"model": references["two"], "parameters": {"weight": 0.3}}]}
    recipe = adapter_recipe(base, {name: experts[name] for name in references}, config=config)
    recipe.config["base_model"] = references["one"]
    merge_as_adapter(recipe, tmp_path / "out")
    expected = weighted_weights(base, {experts["one"]: 0.7, experts["two"]: 0.3})
    assert relative_distance(peft_weights(base, tmp_path / "out"), expected, base) < 1e-6


def sliced_recipe(base: Path, experts: dict[str, Path], *slices: tuple[str, int, int]) -> Any:
    sources = [[{"model": f"{base}+{experts[name]}", "layer_range": [a, b]}] for name, a, b in slices]
    config = {"slices": [{"sources": source} for source in sources]}
    names = {name: experts[name] for name, _, _ in slices}
    return adapter_recipe(base, names, "passthrough", with_base=False, config=config)


def test_layers_of_different_experts(base: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    merge_as_adapter(sliced_recipe(base, experts, ("one", 0, 1), ("two", 1, 3), ("one", 3, 4)), tmp_path / "out")
    one, two = (peft_weights(base, experts[name]) for name in ("one", "two"))
    middle = ("model.layers.1.", "model.layers.2.")
    expected = {name: two[name] if name.startswith(middle) else one[name] for name in one}
    assert relative_distance(peft_weights(base, tmp_path / "out"), expected, base) < 1e-6


def test_layers_cannot_move(base: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    recipe = sliced_recipe(base, experts, ("one", 1, 2), ("one", 0, 1), ("one", 2, 4))
    with pytest.raises(FinError, match=r"model.layers.0\S+ out of model.layers.1\S+ of one"):
        merge_as_adapter(recipe, tmp_path / "out")


def test_weights_by_layer_and_tensor_mean_what_mergekit_means(
    base: Path, experts: dict[str, Path], tmp_path: Path
) -> None:
    gradient = {"weight": [{"filter": "mlp", "value": [0.0, 1.0]}, {"value": 0.25}]}
    merge_as_adapter(adapter_recipe(base, {"one": experts["one"]}, each={"one": gradient}), tmp_path / "out")
    expected, single = peft_weights(base), peft_weights(base, experts["one"])
    for name, weight in expected.items():
        if ".layers." in name:
            share = int(name.split(".")[2]) / 3 if "mlp" in name else 0.25
            weight += share * (single[name] - weight)
    assert relative_distance(peft_weights(base, tmp_path / "out"), expected, base) < 1e-6
    targets = json.loads((tmp_path / "out" / ADAPTER_CONFIG).read_text())["target_modules"]
    # Layer 0 has no change in its MLP, so the short name would match too much.
    assert "q_proj" in targets and "up_proj" not in targets and "model.layers.1.mlp.up_proj" in targets


def test_a_lower_rank_reports_its_residual(base: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    recipe = adapter_recipe(base, experts, each=by_weight(**WEIGHTS))
    merge = merge_as_adapter(recipe, tmp_path / "out", rank=5, max_residual=1)
    expected = weighted_weights(base, {experts[name]: weight for name, weight in WEIGHTS.items()})
    assert merge.rank == 5 and 0.01 < merge.residual < 0.5
    distance = relative_distance(peft_weights(base, tmp_path / "out"), expected, base)
    assert distance == pytest.approx(merge.residual, rel=1e-3)
    with pytest.raises(FinError, match=r"more than 1% .* model\S+ \d+% at rank 5.*need rank \d+: ") as error:
        merge_as_adapter(recipe, tmp_path / "no", rank=5, max_residual=0.01)
    assert not (tmp_path / "no").exists()
    needed, named = required_rank_and_modules(error.value)
    merge = merge_as_adapter(recipe, tmp_path / "enough", rank=needed, max_residual=1)
    assert named and all(module.residual <= 0.01 + 1e-6 for module in merge.modules if module.module in named)


def test_ranks_do_not_exceed_the_matrix(base: Path, tmp_path: Path) -> None:
    paths = {name: make_adapter(tmp_path / name, base, seed, r=12) for seed, name in enumerate("ab")}
    merge = merge_as_adapter(adapter_recipe(base, paths, each=by_weight(a=1, b=1)), tmp_path / "out")
    assert {module.rank for module in merge.modules if "v_proj" in module.module} == {16}
    assert {module.rank for module in merge.modules if "q_proj" in module.module} == {24}
    assert merge.residual < 1e-7
    expected = weighted_weights(base, dict.fromkeys(paths.values(), 1.0))
    assert relative_distance(peft_weights(base, tmp_path / "out"), expected, base) < 1e-6


def test_experts_that_nearly_cancel_out_keep_their_difference_in_bfloat16(base: Path, tmp_path: Path) -> None:
    one, two = (make_adapter(tmp_path / name, base, 0) for name in ("one", "two"))
    torch.manual_seed(1)
    tensors = load_file(one / ADAPTER_WEIGHTS)
    change_tensors(two / ADAPTER_WEIGHTS, {name: it + 1e-3 * torch.randn_like(it) for name, it in tensors.items()})
    recipe = adapter_recipe(base, {"one": one, "two": two}, each=by_weight(one=1, two=-1))
    merge = merge_as_adapter(recipe, tmp_path / "out", dtype="bfloat16")
    assert max(module.rounding for module in merge.modules) <= 3e-3
    expected = weighted_weights(base, {one: 1, two: -1})
    assert relative_distance(peft_weights(base, tmp_path / "out"), expected, base) <= 3e-3


def test_the_same_seed_gives_the_same_files(base: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    each = {name: {"weight": 1, "density": 0.5} for name in experts}
    for name, seed in (("once", 3), ("again", 3), ("other", 4)):
        merge_as_adapter(adapter_recipe(base, experts, "dare_ties", each, seed=seed), tmp_path / name, rank=32)
    once, again, other = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("once", "again", "other")
    )
    assert once == again and other[ADAPTER_WEIGHTS] != once[ADAPTER_WEIGHTS]


@pytest.mark.parametrize(
    "method, each, options, message",
    [
        ("linear", {"weight": 0.5}, {"normalize": False, "with_base": False}, "sum to 0.5"),
        ("task_arithmetic", {"weight": 0}, {}, "changes nothing"),
        ("passthrough", {"scale": 2}, {"with_base": False}, "scale 2"),
        ("task_arithmetic", {}, {}, "Missing required parameter weight"),
        ("dare_linear", {"weight": 1, "density": "much"}, {}, "mergekit rejects the recipe"),
        ("della", {"weight": 1, "density": 0.95}, {}, "della rejects its inputs .*[Ee]psilon"),
    ],
)
def test_merges_that_no_adapter_represents(
    method: str,
    each: dict[str, Any],
    options: dict[str, Any],
    message: str,
    base: Path,
    experts: dict[str, Path],
    tmp_path: Path,
) -> None:
    recipe = adapter_recipe(base, {"one": experts["one"]}, method, {"one": each}, **options)
    with pytest.raises(FinError, match=message) as error:
        merge_as_adapter(recipe, tmp_path / "out")
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_adapters_of_other_models_are_refused(base: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    larger = make_base(tmp_path / "larger", None, intermediate_size=64)
    deeper = make_base(tmp_path / "deeper", None, num_hidden_layers=5)
    for other, targets, message in (
        (larger, MLP, r"expert other changes \S+, a weight of .*64.*has a weight of .*48"),
        (deeper, ["q_proj"], r"model.layers.4\S+ "),
    ):
        adapter = make_adapter(tmp_path / f"{other.name}-adapter", other, 0, target_modules=targets)
        recipe = adapter_recipe(base, {"one": experts["one"], "other": adapter}, each=by_weight(one=1, other=1))
        with pytest.raises(FinError, match=message):
            merge_as_adapter(recipe, tmp_path / "out")


def test_checkpoints_and_ranks_beyond_vllms_are_refused(base: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    recipe = adapter_recipe(base, {"one": experts["one"]}, each=by_weight(one=1))
    checkpoint = replace(recipe, experts=(replace(recipe.experts[0], is_adapter=False),))
    with pytest.raises(FinError, match=r"expert one .* is a checkpoint"):
        merge_as_adapter(checkpoint, tmp_path / "out")
    with pytest.raises(FinError, match="--rank 600: give 1 to 512"):
        merge_as_adapter(recipe, tmp_path / "out", rank=600)
