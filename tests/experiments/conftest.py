from pathlib import Path

import pytest

from tests.experiments.experiment_factories import VALID, ExperimentFolder, make_experiment_folder


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A valid experiment file in the working directory."""
    monkeypatch.chdir(tmp_path)
    path = Path("mine.yaml")
    path.write_text(VALID)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> ExperimentFolder:
    return make_experiment_folder(tmp_path)
