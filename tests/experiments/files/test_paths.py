"""Paths: relative to the experiment file, typed ones to the working folder, and absolute once read."""

from pathlib import Path

import pytest
import yaml

from fin_plugins.experiments.files.read import read_experiment

TASK = Path(__file__).parents[3] / "examples" / "headlines"
TRAINING = "model: demo\ntasks: [{task: headlines.yaml, cap: 3}, fin_fpb]\nreplay: {source: rows.jsonl}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a training file and a task, and beside it a folder with an experiment and others."""
    for part in ("here", "there"):
        (tmp_path / part / "model").mkdir(parents=True)
        for file in TASK.iterdir():
            (tmp_path / part / file.name).write_bytes(file.read_bytes())
        (tmp_path / part / "rows.jsonl").touch()
        (tmp_path / part / "mine.yaml").write_text(TRAINING)
        (tmp_path / part / "soup.yaml").write_text((TASK.parents[1] / "merge_recipes" / "ties.yaml").read_text())
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "there"


def experiment(folder: Path, **changes: object) -> str:
    said = {
        "models": {"a": "./model", "b": "model/../model", "c": "owner/name"},
        "tasks": {"seen": ["headlines.yaml", "fin_fomc"]},
        "training": {"own": "mine.yaml", "fomc": "single_fomc"},
        "merges": {
            "soup": {"experts": ["own", "fomc"], "recipe": "soup.yaml"},
            "best": {"experts": ["own", "fomc"], "search": {"unlabelled": "rows.jsonl"}},
        },
    }
    file = folder / "experiment.yaml"
    file.write_text(yaml.safe_dump(said | changes))
    return str(file)


def test_paths_in_the_file_are_relative_to_it(folder: Path) -> None:
    training = {"own": "mine.yaml", "fomc": {"file": "single_fomc", "set": {"tasks": ["./headlines.yaml"]}}}
    merges = {"soup": {"experts": ["own", "fomc"], "recipe": "soup.yaml"}}
    config = read_experiment(experiment(folder, training=training, merges=merges)).config
    assert {name: model.model for name, model in config.models.items()} == {
        "a": f"{folder}/model",
        "b": f"{folder}/model/../model",
        "c": "owner/name",
    }
    assert config.tasks.seen == [f"{folder}/headlines.yaml", "fin_fomc"]
    assert config.training["own"].file == f"{folder}/mine.yaml"
    assert config.merges["soup"].recipe == f"{folder}/soup.yaml"
    assert config.training["fomc"].set["tasks"] == [f"{folder}/headlines.yaml"]


def test_a_search_has_its_prompts(folder: Path) -> None:
    search = read_experiment(experiment(folder)).config.merges["best"].search
    assert search == {"unlabelled": f"{folder}/rows.jsonl"}


def test_typed_paths_are_relative_to_the_working_folder(folder: Path) -> None:
    changes = ["training.own.file=mine.yaml", "models.a=./model", "tasks.seen.0=headlines.yaml"]
    config = read_experiment(experiment(folder), changes).config
    here = Path.cwd()
    assert config.training["own"].file == f"{here}/mine.yaml" and config.models["a"].model == f"{here}/model"
    assert config.tasks.seen[0] == f"{here}/headlines.yaml"


def test_paths_in_a_training_file_stay_what_they_are_for_fin_train(folder: Path) -> None:
    config = read_experiment(experiment(folder)).config
    assert config.training["own"].set == {
        "tasks": [{"task": f"{Path.cwd()}/headlines.yaml", "cap": 3}, {"task": "fin_fpb"}],
        "replay": {"source": f"{Path.cwd()}/rows.jsonl"},
    }
    assert config.training["fomc"].set == {}
