"""The newest evaluation stands: what was evaluated last has the newest result file, and a plain rerun writes none."""

import json
import shutil
from pathlib import Path

import pytest

from fin_plugins.board.reading.read import read_results
from tests.evaluation.making import llama
from tests.evaluation.running import Asked, World

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def scored(world: World) -> World:
    """The base scored where it lies now, and no result file of another place."""
    for folder in world.output.glob("*__*"):
        shutil.rmtree(folder)
    assert world.run() == Asked()
    return world


@pytest.fixture
def other_weights(world: World, tmp_path: Path) -> Path:
    """Weights for the base's folder that answer otherwise."""
    config = json.loads((world.base / "config.json").read_text())
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    sizes = {name: config[name] for name in (*names, "num_key_value_heads", "max_position_embeddings")}
    return llama(tmp_path / "b", seed=3, **sizes) / "model.safetensors"


def _board(world: World) -> str:
    """The answers to the task `first` behind what the board shows of the base."""
    reading = read_results([world.output])
    (column,) = [one for one in reading.columns if one.task == "first" and one.conditions.limit is None]
    (entry,) = column.entries
    stamp = Path(entry.source.file).name.removeprefix("results_").removesuffix(".json")
    (samples,) = world.output.rglob(f"samples_first_{stamp}.jsonl")
    return str([json.loads(line)["filtered_resps"] for line in samples.read_text().splitlines()])


def _results(world: World) -> list[Path]:
    return sorted(world.output.glob("*__base/results_*.json"))


def _swap(world: World, weights: Path) -> None:
    shutil.copyfile(weights, world.base / "model.safetensors")


def test_weights_restored_and_scored_again_are_the_boards(
    scored: World, other_weights: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = Path(shutil.copy(scored.base / "model.safetensors", tmp_path / "a.safetensors"))
    a = _board(scored)
    _swap(scored, other_weights)
    scored.run(tasks="first")
    b = _board(scored)
    assert a != b
    _swap(scored, first)
    capfd.readouterr()
    assert scored.run() == Asked()  # all answers are there; the result file is written again
    assert "written before" not in capfd.readouterr().err
    assert _board(scored) == a
    files = _results(scored)
    assert scored.run() == Asked() and scored.run() == Asked()
    assert _results(scored) == files  # and only once
    _swap(scored, other_weights)
    assert scored.run(tasks="first") == Asked()
    assert _board(scored) == b


def test_commands_that_take_turns_write_nothing(scored: World) -> None:
    commands: list[tuple[list[str], str]] = [([], "both,reply"), ([], "first"), (["--limit", "2"], "first,reply")]
    for words, tasks in commands:
        scored.run(*words, tasks=tasks)
    files = scored.files()
    for words, tasks in commands * 2:
        assert scored.run(*words, tasks=tasks) == Asked()
    assert scored.files() == files


def test_a_newer_result_of_lm_evals_own_is_answered_by_a_new_file(scored: World) -> None:
    (ours,) = _results(scored)
    stranger = ours.with_name("results_2999-01-01T00-00-00.000000.json")
    data = json.loads(ours.read_text())
    stranger.write_text(json.dumps({**data, "config": {**data["config"], "model": "hf"}}))
    scored.run()
    assert len(_results(scored)) == 3


@pytest.mark.parametrize("text", ["", "[" * 100_000, "[]", "{}", '{"results": {"first": 1}, "n-samples": 3}'])
def test_a_newer_file_that_is_no_result_costs_nothing(text: str, scored: World) -> None:
    (ours,) = _results(scored)
    ours.with_name("results_2999-01-01T00-00-00.000000.json").write_text(text)
    assert scored.run() == Asked()


def test_results_in_one_folder_of_several_models_are_told_apart(scored: World) -> None:
    words = ["--output_path", str(scored.output / "run.json"), *scored.flags()]
    scored.run(*words)
    files = scored.files()
    assert scored.run(*words) == Asked()
    assert scored.files() == files
