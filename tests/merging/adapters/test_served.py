"""A merged adapter where adapters are used: `fin merge --as-adapter`, then `fin eval` beside its experts."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fin_plugins.cli.main import fin
from fin_plugins.scoring.adapters import read_adapter
from tests.evaluation.making import adapter
from tests.evaluation.running import World, make_world
from tests.merging.adapters.making import MLP, distance, weighted, weights_of


@pytest.fixture
def world(tiny_models: dict[str, Path], tmp_path: Path, quick: None) -> World:
    world = make_world(tmp_path / "world", tiny_models["llama3"])
    adapter(world.adapter("three"), world.base, 0.4, r=3, target_modules=["q_proj", *MLP])
    return world


def merge(world: World, recipe: str, out: Path, *more: str) -> dict:
    experts = [word for name in ("one", "three") for word in ("--expert", f"{name}={world.adapter(name)}")]
    words = ["merge", recipe, "--base", str(world.base), *experts, "--out", str(out), "--as-adapter", "--json", *more]
    done = CliRunner().invoke(fin, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_fin_eval_takes_the_merge_beside_its_experts(world: World) -> None:
    merged = world.adapter("merged")
    record = merge(world, "task_arithmetic", merged, "--weight", "one=0.7", "--weight", "three=0.6")
    assert record["exact"] and (record["rank"], record["engine_rank"]) == (7, 8)
    expected = weighted(world.base, {world.adapter("one"): 0.7, world.adapter("three"): 0.6})
    assert distance(weights_of(world.base, merged), expected, world.base) < 1e-6
    written = read_adapter("merged", merged)
    assert written.rank == 7 and written.modules == ("down_proj", "gate_proj", "q_proj", "up_proj", "v_proj")
    asked = world.run(*world.flags("one", "three", "merged"), "--verify-adapters", tasks="first")
    assert asked.units == [f"{model} first" for model in ("base", "one", "three", "merged")] and asked.starts == 1


def test_a_method_that_is_no_sum(world: World) -> None:
    merged = world.adapter("merged")
    record = merge(world, "ties", merged, "--rank", "32", "--dtype", "bfloat16", "--set", "density=0.5")
    assert not record["exact"] and record["residual"] < 1e-5 and 1e-4 < record["rounding"] < 3e-3
    assert read_adapter("merged", merged).rank == 32
    words = ["merge", "ties", "--base", str(world.base), "--expert", f"one={world.adapter('one')}"]
    words += ["--expert", f"three={world.adapter('three')}", "--out", str(world.adapter("low")), "--as-adapter"]
    refused = CliRunner().invoke(fin, [*words, "--rank", "4"])
    assert refused.exit_code != 0 and not world.adapter("low").exists()
    assert "layers lose more than 10% of the merged change to the rank" in str(refused.exception or refused.output)
