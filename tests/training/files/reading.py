"""A training file in a folder of its own, and what is wrong with it."""

from pathlib import Path

import pytest

from fin_plugins.common.yaml_file import Problems
from fin_plugins.training.files.read import read_config

PLAIN = "model: demo\ntasks: [fin_fomc, {task: fin_fpb, cap: 9}]\nreplay: self\nlora: {r: 4}\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("my.run.yaml")
    path.write_text(PLAIN)
    return path


def problems(file: Path, text: str, *changes: str) -> list[str]:
    file.write_text(text)
    with pytest.raises(Problems) as error:
        read_config(str(file), changes)
    return [str(problem) for problem in error.value.problems]
