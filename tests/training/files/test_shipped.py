"""The training files that come with the package."""

import re
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from fin_plugins.common.bundled import TRAINING_CONFIGS, about
from fin_plugins.common.errors import FinError
from fin_plugins.common.locations import training_folder
from fin_plugins.training.files.read import read_config
from tests.conftest import ROOT

NAMES = {
    *("single_sentiment", "single_headline", "single_finred", "single_fomc", "multi_seen"),
    *("paper_2411.02476", "cocktail", "demo"),
}


def test_they_are_all_there() -> None:
    assert set(TRAINING_CONFIGS.files()) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_reads_without_a_problem_and_says_how_to_run_it(name: str) -> None:
    read = read_config(name)
    lines = read.source.read_text(encoding="utf-8").splitlines()
    assert read.name == name and len(lines) <= 26 and 20 < len(about(read.source)) < 120
    assert lines[2] == "#" and re.match(rf"#   (FIN_DATA=sample )?fin train {re.escape(name)}( |$)", lines[3])


def test_the_papers_setting() -> None:
    config = read_config("paper_2411.02476").config
    assert (config.lora.r, config.lora.alpha, config.lora.dropout, len(config.lora.target_modules)) == (32, 64, 0.05, 7)
    assert (config.batch_size * config.gradient_accumulation, config.learning_rate, config.epochs) == (8, 2e-4, 2)
    assert (config.scheduler, config.loss, config.batching, config.max_length) == ("constant", "all", "packed", 2048)
    assert config.validation is None and config.seed == 42 and len(config.tasks) == 5


def test_the_wheel_has_them_and_no_test() -> None:
    files = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {f"fin_plugins/training_configs/{name}.yaml" for name in NAMES} <= files
    assert {"fin_plugins/training/config.py", "fin_plugins/lm_eval_tasks/fin/fin_fomc.yaml"} <= files
    assert all(file.startswith(("fin_plugins/", "fin_plugins.")) for file in files)
    assert not any("test_" in file for file in files)


def test_the_folder_in_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert training_folder() == ROOT / "training"
    package = tmp_path / "site-packages" / "fin_plugins"
    (package / "training_configs").mkdir(parents=True)
    (package / "training").mkdir()
    monkeypatch.setattr("fin_plugins.common.locations.__file__", str(package / "common" / "locations.py"))
    assert training_folder() == package / "training_configs"


def test_an_own_file_of_the_same_name_is_meant_only_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo").mkdir()
    assert TRAINING_CONFIGS.copy("demo", "") == Path("demo.yaml")
    assert read_config("demo").source == ROOT / "training" / "demo.yaml"
    assert read_config("demo.yaml").source == Path("demo.yaml")


def test_copying(tmp_path: Path) -> None:
    target = TRAINING_CONFIGS.copy("single_fomc", str(tmp_path))
    assert target == tmp_path / "single_fomc.yaml"
    assert target.read_bytes() == (ROOT / "training" / "single_fomc.yaml").read_bytes()
    target.write_text("mine")
    with pytest.raises(FinError, match="is there already, and is left alone"):
        TRAINING_CONFIGS.copy("single_fomc", str(target))
    assert target.read_text() == "mine"
    with pytest.raises(FinError, match="cannot be written"):
        TRAINING_CONFIGS.copy("single_fomc", str(tmp_path / "gone" / "x.yaml"))
