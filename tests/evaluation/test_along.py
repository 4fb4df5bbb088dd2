"""`fin eval` with both protocols of a task: the replies come along with the labels of the same prompts."""

import json
from pathlib import Path
from typing import Any

import pytest

from fin_plugins.scoring.hf import FinHF
from tests.evaluation.running import GENERATION, Asked, World, make_world

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def twins(tiny_models: dict[str, Path], tmp_path: Path) -> World:
    """A world where `twin` is `first`, answered freely."""
    world = make_world(tmp_path / "world", tiny_models["llama3"])
    (world.root / "tasks" / "twin.yaml").write_text(GENERATION.format(name="twin", instruction="Up or down?"))
    return world


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For every task of replies the engine is asked, whether all of them were written before."""
    found: list[bool] = []
    theirs = FinHF.generate_until

    def noting(self: FinHF, requests: Any, disable_tqdm: bool = False) -> list[str]:
        found.append(self.has_replies(requests))
        return theirs(self, requests, disable_tqdm)

    monkeypatch.setattr(FinHF, "generate_until", noting)
    return found


def samples(world: World, model: str, task: str) -> list[str]:
    (file,) = world.output.glob(f"*__{model}/samples_{task}_*.jsonl")
    return [json.loads(line)["resps"] for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("tasks", ["first,second,twin,reply", "twin,reply,second,first"])
def test_one_pass_answers_both(tasks: str, twins: World, written: list[bool]) -> None:
    asked = twins.run(*twins.flags("one"), tasks=tasks)
    models = ("base", "one")
    assert sorted(asked.units) == sorted(f"{model} {task}" for model in models for task in tasks.split(","))
    for model in models:
        assert asked.units.index(f"{model} twin") == asked.units.index(f"{model} first") + 1
        assert asked.units[-1] == "one reply"  # whose prompts are its own
    assert written == [True, False] * 2
    alone = World(twins.root)
    together = {(model, task): samples(twins, model, task) for model in models for task in ("twin", "reply", "first")}
    assert together["base", "twin"] != together["one", "twin"]
    for file in list(twins.output.rglob("*.json*")):
        file.unlink()
    for task in ("twin", "reply", "first"):
        alone.run(*twins.flags("one"), tasks=task)
    assert written == [True, False] * 2 + [False] * 4
    assert together == {key: samples(alone, *key) for key in together}


def test_replies_are_kept_as_soon_as_they_are_whole(twins: World, written: list[bool]) -> None:
    first = Asked(fail_at=2)
    with pytest.raises(KeyboardInterrupt):
        twins.run(tasks="first,second,twin", asked=first)
    assert first.units == ["base first", "base twin"]
    assert twins.run(tasks="first,second,twin").units == ["base second"]
    assert written == [True]
    assert twins.run(tasks="first,second,twin") == Asked()


def test_stored_replies_are_not_written_again(
    twins: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    twins.run(tasks="twin")
    expected: list[int] = []
    monkeypatch.setattr(FinHF, "expect_replies", lambda _, requests: expected.append(len(requests)))
    assert twins.run(tasks="twin,first").units == ["base first"]
    assert expected == [0]
    printed = capfd.readouterr().err
    assert printed.count("base · twin: from the store") == 1
    assert "[1/2] base · first: 4 documents" in printed
    assert "[2/2] base · twin: from the store" in printed
