"""An experiment file in a folder of its own, and what is wrong with it."""

from pathlib import Path

import pytest

from fin_plugins.common.yaml_file import Problems
from fin_plugins.experiments.files.read import read_experiment

PLAIN = """\
models:
  small: demo
  large: {model: owner/name, settings: {max_length: 512}}
tasks:
  seen: [fin_fpb, fin_fiqa, fin_fomc]
  unseen: [fin_deal]
rows: {train: 40, test: 20}
seeds: [1, 2]
fewshot: [0, 5]
training:
  sentiment: {file: single_sentiment, set: {epochs: 1}}
  fomc: single_fomc
  multi: {file: multi_seen, set: {tasks: [fin_fpb, fin_fomc], lora.r: 8}}
merges:
  ties: {experts: [sentiment, fomc], recipe: ties, set: {density: 0.3}, weights: {fomc: 0.7}, adapter: false}
  best: {experts: [sentiment, fomc], search: {candidates: 5, rows: 20}}
board: {reference: multi}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("mine.yaml")
    path.write_text(PLAIN)
    return path


def problems(file: Path, text: str, *changes: str) -> list[str]:
    file.write_text(text)
    with pytest.raises(Problems) as error:
        read_experiment(str(file), changes)
    return [str(problem) for problem in error.value.problems]
