"""A merged adapter in use: `fin eval` serves it beside its experts."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fin_plugins.cli.main import fin
from fin_plugins.scoring.adapters import read_adapter
from tests.evaluation.conftest import quick  # noqa: F401 (a fixture)
from tests.evaluation.eval_workspace import EvalWorkspace as World
from tests.evaluation.eval_workspace import make_workspace as make_world
from tests.merging.model_factories import MLP, make_adapter, peft_weights, relative_distance, weighted_weights


@pytest.fixture
def world(tiny_models: dict[str, Path], tmp_path: Path, quick: None) -> World:  # noqa: F811
    world = make_world(tmp_path / "world", tiny_models["llama3"])
    make_adapter(world.adapter("three"), world.base, 3, r=3, target_modules=["q_proj", *MLP])
    return world


def merge(world: World, recipe: str, out: Path, *options: str) -> Result:
    flags = [word for name in ("one", "three") for word in ("--expert", f"{name}={world.adapter(name)}")]
    words = ["merge", recipe, "--base", str(world.base), *flags, "--out", str(out), "--as-adapter", "--json", *options]
    return CliRunner().invoke(fin, words)


def metadata(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)  # type: ignore[no-any-return]


def test_fin_eval_serves_the_merge_beside_its_experts(world: World) -> None:
    merged = world.adapter("merged")
    record = metadata(merge(world, "task_arithmetic", merged, "--weight", "one=0.7", "--weight", "three=0.6"))
    assert record["exact"] and (record["rank"], record["engine_rank"]) == (7, 8)
    expected = weighted_weights(world.base, {world.adapter("one"): 0.7, world.adapter("three"): 0.6})
    assert relative_distance(peft_weights(world.base, merged), expected, world.base) < 1e-6
    adapter = read_adapter("merged", merged)
    assert adapter.rank == 7 and adapter.modules == ("down_proj", "gate_proj", "q_proj", "up_proj", "v_proj")
    calls = world.run(*world.flags("one", "three", "merged"), "--verify-adapters", tasks="first")
    assert calls.units == [f"{model} first" for model in ("base", "one", "three", "merged")] and calls.starts == 1


def test_methods_that_are_not_linear_need_a_high_rank(world: World) -> None:
    options = ("--rank", "32", "--dtype", "bfloat16", "--set", "density=0.5")
    record = metadata(merge(world, "ties", world.adapter("merged"), *options))
    assert not record["exact"] and record["residual"] < 1e-5 and 1e-4 < record["rounding"] < 3e-3
    assert read_adapter("merged", world.adapter("merged")).rank == 32
    refused = merge(world, "ties", world.adapter("low"), "--rank", "4")
    assert refused.exit_code != 0 and not world.adapter("low").exists()
    assert "--max-residual" in str(refused.exception)
