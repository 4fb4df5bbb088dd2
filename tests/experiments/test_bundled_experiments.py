"""The bundled experiments."""

from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from fin_plugins.common.bundled import EXPERIMENTS, about
from fin_plugins.common.locations import experiment_folder
from fin_plugins.experiments.experiment_file import read_experiment
from tests.conftest import ROOT

NAMES = {"paper", "smollm2", "demo"}
SEEN = ["fin_fpb", "fin_fiqa", "fin_headline", "fin_finred", "fin_fomc"]
UNSEEN = ["fin_argument", "fin_deal", "fin_causal"]


def test_all_are_bundled() -> None:
    assert set(EXPERIMENTS.files()) == NAMES and experiment_folder() == ROOT / "experiments"
    assert all(name in EXPERIMENTS.listing(as_json=False) for name in NAMES)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_is_valid_fits_a_screen_and_shows_how_to_run_it(name: str) -> None:
    experiment = read_experiment(name)
    lines = experiment.source.read_text(encoding="utf-8").splitlines()
    assert experiment.name == name and len(lines) <= 50 and 20 < len(about(experiment.source)) < 120
    assert lines[2] == "#" and lines[3].startswith(f"#   fin run {name}")


def test_the_papers_shape_at_135m() -> None:
    config = read_experiment("smollm2").config
    assert (config.tasks.seen, config.tasks.unseen) == (SEEN, UNSEEN)
    assert set(config.training) == {"sentiment", "headline", "finred", "fomc", "multi", "multi_replay"}
    recipes = {name: merge.recipe for name, merge in config.merges.items()}
    assert recipes == {"paper_merge": "paper_2411.02476", "ties": "ties", "dare": "dare_linear", "searched": None}
    assert all(set(merge.experts) == {"sentiment", "headline", "finred", "fomc"} for merge in config.merges.values())
    assert set(config.protocols) == {"likelihood", "generation"} and config.board.reference == "multi"
    assert config.rows.train == 400 and config.rows.test == 200
    assert sum(task["cap"] for task in config.training["sentiment"].set["tasks"]) == 400
    replay = config.training["multi_replay"].set
    assert replay["replay"]["source"] == "self" and replay["tasks"] == config.training["multi"].set["tasks"]


def test_the_papers_models_and_settings() -> None:
    config = read_experiment("paper").config
    assert {model.model for model in config.models.values()} == {
        *("meta-llama/Meta-Llama-3-8B", "meta-llama/Meta-Llama-3-8B-Instruct", "mistralai/Mistral-7B-v0.1"),
        *("mistralai/Mistral-7B-Instruct-v0.2", "microsoft/Phi-3-mini-4k-instruct"),
    }
    shots = {name: model.fewshot or config.fewshot for name, model in config.models.items()}
    assert {name for name, counts in shots.items() if counts == [0, 1, 5, 10]} == {"llama3", "mistral", "phi3"}
    assert {name for name, model in config.models.items() if model.merge is None} == {"llama3", "mistral"}
    assert {training.file for training in config.training.values()} == {"paper_2411.02476"}
    assert (config.tasks.seen, config.tasks.unseen) == (SEEN, UNSEEN)
    assert config.models["phi3"].settings["max_length"] == 1024


def test_the_demo_needs_no_data() -> None:
    config = read_experiment("demo").config
    assert config.rows.data == "sample" and [model.model for model in config.models.values()] == ["demo"]


def test_the_file_in_the_readme_is_valid(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "guides" / "experiments.md").read_text(encoding="utf-8")
    file = tmp_path / "my.yaml"
    file.write_text(text.split("```yaml\n")[1].split("```")[0])
    assert set(read_experiment(str(file)).config.merges) == {"average", "ties", "searched"}


def test_the_wheel_has_them() -> None:
    files = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {f"fin_plugins/experiment_files/{name}.yaml" for name in NAMES} <= files
    assert "fin_plugins/experiments/experiment_config.py" in files


def test_copying(tmp_path: Path) -> None:
    target = EXPERIMENTS.copy("demo", str(tmp_path))
    assert target == tmp_path / "demo.yaml" and read_experiment(str(target)).name == "demo"
