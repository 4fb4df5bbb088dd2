import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.base_layers import base_layers
from fin_plugins.merging.adapters.merge import merge_as_adapter
from fin_plugins.merging.adapters.plan import plan
from tests.evaluation.making import adapter
from tests.merging.adapters.making import MLP, distance, filled, tiny_base, weighted, weights_of


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("bases") / "llama")


@pytest.fixture(scope="module")
def experts(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Different ranks, scales and modules; the last one changes two layers only."""
    folder = tmp_path_factory.mktemp("experts")
    return {
        "one": adapter(folder / "one", base, r=4, lora_alpha=8, target_modules=["q_proj", *MLP]),
        "two": adapter(folder / "two", base, 0.3, r=3, lora_alpha=5, use_rslora=True, target_modules=["q_proj"]),
        "three": adapter(
            folder / "three",
            *(base, 0.4),
            r=2,
            rank_pattern={"layers.1.mlp.up_proj": 6},
            alpha_pattern={"up_proj": 3},
            target_modules=["k_proj", "up_proj"],
            layers_to_transform=[1, 3],
        ),
    }


WEIGHTS = {"one": 0.7, "two": -0.45, "three": 1.3}


def by_weight(**weights: Any) -> dict[str, dict[str, Any]]:
    return {name: {"weight": weight} for name, weight in weights.items()}


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = model(torch.arange(12)[None]).logits
    return out


@pytest.mark.parametrize("dtype, error", [("float32", 1e-6), ("bfloat16", 3e-3), ("float16", 1e-3)])
def test_task_arithmetic_is_the_float64_merge(
    base: Path, experts: dict[str, Path], tmp_path: Path, dtype: str, error: float
) -> None:
    recipe = filled(base, experts, each=by_weight(**WEIGHTS), **{"lambda": 1.1})
    done = merge_as_adapter(recipe, tmp_path / "out", dtype=dtype)
    expected = weighted(base, {experts[name]: 1.1 * weight for name, weight in WEIGHTS.items()})
    found = distance(weights_of(base, tmp_path / "out"), expected, base)
    assert found <= error
    assert done.rounding == pytest.approx(found, rel=0.05, abs=1e-7) and done.residual == 0
    # rank 6 of `three` beside rank 4 of `one`; rank 4 + 3 in every q_proj
    assert {layer.module.split(".", 2)[2]: layer.rank for layer in done.layers}["1.mlp.up_proj"] == 10
    assert (done.rank, done.engine_rank, len(done.layers)) == (10, 16, 4 * 4 + 2)


@pytest.mark.parametrize("kind, settings", [("Llama", {}), ("Qwen2", {}), ("Gemma2", {"head_dim": 16})])
def test_logits_are_those_of_the_materialised_merge(kind: str, settings: dict, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = tiny_base(tmp_path / "base", kind, **settings)
    one = adapter(tmp_path / "one", base, r=4, target_modules="all-linear")
    two = adapter(tmp_path / "two", base, r=2, target_modules=["v_proj", "o_proj"])
    merge_as_adapter(filled(base, {"one": one, "two": two}, each=by_weight(one=0.6, two=0.5)), tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64)
    untouched = logits(model)
    model.load_state_dict(weighted(base, {one: 0.6, two: 0.5}), strict=False)
    merged = logits(model)
    fresh = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64)
    ours = PeftModel.from_pretrained(fresh, str(tmp_path / "out"), autocast_adapter_dtype=False).double()
    assert (merged - untouched).abs().max() > 0.01
    assert (logits(ours) - merged).abs().max() < 1e-5 * (merged - untouched).abs().max()


def test_peft_concatenates_to_the_same(base: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    paths = {name: adapter(tmp_path / name, base, r=rank) for name, rank in (("one", 4), ("second", 2))}
    merge_as_adapter(filled(base, paths, each=by_weight(one=0.3, second=0.8)), tmp_path / "out")
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(paths["one"]), "one")
    model.load_adapter(str(paths["second"]), "second")
    model.add_weighted_adapter(["one", "second"], [0.3, 0.8], "both", combination_type="cat")
    model.load_adapter(str(tmp_path / "out"), "ours")
    for module in model.modules():
        if hasattr(module, "get_delta_weight"):
            theirs, ours = module.get_delta_weight("both"), module.get_delta_weight("ours")
            assert torch.allclose(theirs, ours, atol=1e-5 * float(theirs.detach().abs().max()))


def test_shares_that_sum_to_one_average_the_experts(base: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    for method, with_base in (("task_arithmetic", True), ("linear", False)):
        each = by_weight(**dict.fromkeys(experts, 1 / 3 if with_base else 1.0))
        merge_as_adapter(filled(base, experts, method, each, with_base=with_base), tmp_path / method)
        single = [weights_of(base, path) for path in experts.values()]
        average = {name: sum(weights[name] for weights in single) / 3 for name in single[0]}
        assert distance(weights_of(base, tmp_path / method), average, base) < 1e-6


def test_the_base_may_be_one_of_those_averaged(base: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    listed = [(str(base), 3.0), (f"{base}+{experts['one']}", 1.0)]
    models = [{"model": model, "parameters": {"weight": weight}} for model, weight in listed]
    recipe = filled(base, {"one": experts["one"]}, "linear", with_base=False, config={"models": models})
    merge_as_adapter(recipe, tmp_path / "out")
    assert distance(weights_of(base, tmp_path / "out"), weighted(base, {experts["one"]: 0.25}), base) < 1e-6


def test_an_expert_as_the_base_of_the_arithmetic(base: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    named = {name: f"{base}+{experts[name]}" for name in ("one", "two")}
    models = [{"model": named["two"], "parameters": {"weight": 0.3}}]
    recipe = filled(base, {name: experts[name] for name in named}, config={"models": models})
    recipe.config["base_model"] = named["one"]
    merge_as_adapter(recipe, tmp_path / "out")
    expected = weighted(base, {experts["one"]: 0.7, experts["two"]: 0.3})
    assert distance(weights_of(base, tmp_path / "out"), expected, base) < 1e-6


def test_layers_from_different_experts(base: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    slices = [("one", 0, 1), ("two", 1, 3), ("one", 3, 4)]
    sources = [[{"model": f"{base}+{experts[name]}", "layer_range": [a, b]}] for name, a, b in slices]
    config = {"slices": [{"sources": source} for source in sources]}
    recipe = filled(base, {n: experts[n] for n in ("one", "two")}, "passthrough", with_base=False, config=config)
    merge_as_adapter(recipe, tmp_path / "out")
    one, two = (weights_of(base, experts[name]) for name in ("one", "two"))
    middle = ("model.layers.1.", "model.layers.2.")
    expected = {name: two[name] if name.startswith(middle) else one[name] for name in one}
    assert distance(weights_of(base, tmp_path / "out"), expected, base) < 1e-6


def test_weights_by_layer_and_tensor_mean_what_mergekit_means(
    base: Path, experts: dict[str, Path], tmp_path: Path
) -> None:
    gradient = {"weight": [{"filter": "mlp", "value": [0.0, 1.0]}, {"value": 0.25}]}
    merge_as_adapter(filled(base, {"one": experts["one"]}, each={"one": gradient}), tmp_path / "out")
    expected, single = weights_of(base), weights_of(base, experts["one"])
    for name, weight in expected.items():
        if ".layers." in name:
            share = int(name.split(".")[2]) / 3 if "mlp" in name else 0.25
            weight += share * (single[name] - weight)
    assert distance(weights_of(base, tmp_path / "out"), expected, base) < 1e-6
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert "q_proj" in config["target_modules"] and "up_proj" not in config["target_modules"]  # none in layer 0
    assert "model.layers.1.mlp.up_proj" in config["target_modules"]


def test_a_lower_rank_says_what_it_leaves_out(base: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    recipe = filled(base, experts, each=by_weight(**WEIGHTS))
    done = merge_as_adapter(recipe, tmp_path / "out", rank=5, max_residual=1)
    expected = weighted(base, {experts[name]: weight for name, weight in WEIGHTS.items()})
    assert done.rank == 5 and 0.01 < done.residual < 0.5
    assert distance(weights_of(base, tmp_path / "out"), expected, base) == pytest.approx(done.residual, rel=1e-3)
    message = r"layers lose more than 1% of the merged change to the rank: model\S+ \d+% at rank 5.*need rank \d+: "
    with pytest.raises(FinError, match=message) as error:
        merge_as_adapter(recipe, tmp_path / "no", rank=5, max_residual=0.01)
    assert not (tmp_path / "no").exists()
    needed = int(str(error.value).split("need rank ")[1].split(":")[0])
    named = re.findall(r"(model\S+) \d+% at rank", str(error.value))  # which are the worst hangs on near-equal shares
    enough = merge_as_adapter(recipe, tmp_path / "enough", rank=needed, max_residual=1)
    assert named and all(layer.residual <= 0.01 + 1e-6 for layer in enough.layers if layer.module in named)


def test_no_wider_than_the_matrix(base: Path, tmp_path: Path) -> None:
    paths = {name: adapter(tmp_path / name, base, scale, r=12) for name, scale in (("a", 0.5), ("bb", 0.4))}
    done = merge_as_adapter(filled(base, paths, each=by_weight(a=1, bb=1)), tmp_path / "out")
    assert {layer.rank for layer in done.layers if "v_proj" in layer.module} == {16}
    assert {layer.rank for layer in done.layers if "q_proj" in layer.module} == {24}
    assert done.residual < 1e-7
    assert distance(weights_of(base, tmp_path / "out"), weighted(base, dict.fromkeys(paths.values(), 1.0)), base) < 1e-6


def test_experts_that_nearly_cancel_out_keep_their_difference_in_bfloat16(base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    one = adapter(tmp_path / "one", base)
    two = adapter(tmp_path / "two", base)
    tensors = load_file(one / "adapter_model.safetensors")
    torch.manual_seed(1)
    near = {name: tensor + 1e-3 * torch.randn_like(tensor) for name, tensor in tensors.items()}
    save_file(near, two / "adapter_model.safetensors", metadata={"format": "pt"})
    recipe = filled(base, {"one": one, "two": two}, each=by_weight(one=1, two=-1))
    done = merge_as_adapter(recipe, tmp_path / "out", dtype="bfloat16")
    assert max(layer.rounding for layer in done.layers) <= 3e-3
    assert distance(weights_of(base, tmp_path / "out"), weighted(base, {one: 1, two: -1}), base) <= 3e-3


def test_the_same_merge_is_the_same_files(base: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    for name in ("once", "again"):
        recipe = filled(base, experts, "dare_ties", {n: {"weight": 1, "density": 0.5} for n in experts}, seed=3)
        merge_as_adapter(recipe, tmp_path / name, rank=32)
    once, again = ({file.name: file.read_bytes() for file in (tmp_path / n).iterdir()} for n in ("once", "again"))
    assert once == again
    recipe = filled(base, experts, "dare_ties", {n: {"weight": 1, "density": 0.5} for n in experts}, seed=4)
    merge_as_adapter(recipe, tmp_path / "other", rank=32)
    assert (tmp_path / "other" / "adapter_model.safetensors").read_bytes() != once["adapter_model.safetensors"]


@pytest.mark.parametrize(
    "method, each, more, message",
    [
        (
            "linear",
            {"weight": 0.5},
            {"normalize": False, "with_base": False},
            "sum to 0.5, so that the merge scales",
        ),
        ("task_arithmetic", {"weight": 0}, {}, "the merge changes nothing: all weights are zero"),
        ("passthrough", {"scale": 2}, {"with_base": False}, "scale 2.* scales the base's own weights"),
        ("task_arithmetic", {}, {}, "mergekit does not take the recipe .*Missing required parameter weight"),
        ("dare_linear", {"weight": 1, "density": "much"}, {}, "mergekit does not take the recipe"),
        ("della", {"weight": 1, "density": 0.95}, {}, "della refuses its inputs .*[Ee]psilon"),
    ],
)
def test_merges_that_no_adapter_holds(
    method: str, each: dict, more: dict, message: str, base: Path, experts: dict[str, Path], tmp_path: Path
) -> None:
    recipe = filled(base, {"one": experts["one"]}, method, {"one": each}, **more)
    with pytest.raises(FinError, match=message) as error:
        merge_as_adapter(recipe, tmp_path / "out")
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_layers_that_move(base: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    sources = [[{"model": f"{base}+{experts['one']}", "layer_range": part}] for part in ([1, 2], [0, 1], [2, 4])]
    config = {"slices": [{"sources": source} for source in sources]}
    recipe = filled(base, {"one": experts["one"]}, "passthrough", with_base=False, config=config)
    with pytest.raises(FinError, match=r"makes model.layers.0\S+ out of model.layers.1\S+ of one: an adapter cannot"):
        merge_as_adapter(recipe, tmp_path / "out")


def test_experts_of_different_models(base: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    larger = tiny_base(tmp_path / "larger", intermediate_size=64)
    other = adapter(tmp_path / "other", larger, target_modules=MLP)
    recipe = filled(base, {"one": experts["one"], "other": other}, each=by_weight(one=1, other=1))
    with pytest.raises(
        FinError, match=r"expert other changes \S+, a weight of .*64.*has a weight of .*48.*give the base"
    ):
        merge_as_adapter(recipe, tmp_path / "out")


def test_modules_the_base_does_not_have(base: Path, tmp_path: Path) -> None:
    deeper = tiny_base(tmp_path / "deeper", num_hidden_layers=5)
    recipe = filled(base, {"deep": adapter(tmp_path / "deep", deeper)}, each=by_weight(deep=1))
    with pytest.raises(FinError, match=r"model.layers.4\S+ is neither a linear layer nor an embedding of the base"):
        merge_as_adapter(recipe, tmp_path / "out")


def test_checkpoints_and_ranks_no_engine_serves(base: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    from dataclasses import replace

    recipe = filled(base, {"one": experts["one"]}, each=by_weight(one=1))
    checkpoint = replace(recipe, experts=(replace(recipe.experts[0], is_adapter=False),))
    with pytest.raises(FinError, match=r"expert one .* is a checkpoint, no adapter: merge into a checkpoint"):
        merge_as_adapter(checkpoint, tmp_path / "out")
    with pytest.raises(FinError, match="--rank 600: give 1 to 512, the largest rank vLLM serves"):
        merge_as_adapter(recipe, tmp_path / "out", rank=600)


def test_experts_stand_in_the_order_in_which_they_are_named(
    base: Path, experts: dict[str, Path], tmp_path: Path
) -> None:
    # mergekit keeps parameters in a mapping whose order differs from process to process: with it the file would.
    paths = {f"expert{number}": tmp_path / str(number) for number in range(8)}
    for path in paths.values():
        path.symlink_to(experts["one"])
    recipe = filled(base, paths, each=by_weight(**dict.fromkeys(paths, 0.1)))
    steps = plan(recipe, base_layers(base))
    assert steps and all(list(step.own["weight"])[:8] == list(paths) for step in steps)
