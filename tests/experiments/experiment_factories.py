"""Experiment files, and an experiment on two custom tasks with a model of a few numbers, to plan without running."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from fin_plugins.common.yaml_file import Problems
from fin_plugins.experiments.experiment_config import Experiment
from fin_plugins.experiments.experiment_file import read_experiment
from fin_plugins.experiments.experiment_plan import make_plan
from fin_plugins.experiments.step_plan import Plan, Step
from tests.conftest import ROOT

VALID = """\
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
TRAINING = "model: demo\ntasks: [{task}]\nvalidation: off\n"
SPLITS = {"train": 60, "validation": 20, "test": 40}


def problems_of(file: Path, text: str, *settings: str) -> list[str]:
    """The problems of a file with this text."""
    file.write_text(text)
    with pytest.raises(Problems) as error:
        read_experiment(str(file), settings)
    return [str(problem) for problem in error.value.problems]


@dataclass
class ExperimentFolder:
    """A folder with a model, tasks and training files, and an experiment's data.

    `head` is trained on one task, `let` on the other, `multi` on both; there are two merges, and everything is scored.
    """

    root: Path
    data: dict[str, Any] = field(default_factory=dict)

    def task(self, name: str) -> Path:
        return self.root / name / f"{name}.yaml"

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def work(self) -> Path:
        return self.root / "work"

    def plan(self, **changes: Any) -> Plan:
        return make_plan(Experiment.model_validate({**self.data, **changes}), "test", self.work)

    def edit(self, file: Path, before: str, after: str) -> None:
        text = file.read_text(encoding="utf-8")
        assert before in text
        file.write_text(text.replace(before, after, 1), encoding="utf-8")

    def finish(self, steps: tuple[Step, ...]) -> None:
        """Write all markers and outputs, as if the steps had run."""
        for path in (path for step in steps for path in (*step.markers, *step.outputs)):
            (self.work / path).parent.mkdir(parents=True, exist_ok=True)
            (self.work / path).write_text("{}", encoding="utf-8")


def make_experiment_folder(root: Path) -> ExperimentFolder:
    folder = ExperimentFolder(root)
    _write_model(folder.model)
    for name in ("headlines", "letters"):
        shutil.copytree(ROOT / "examples" / name, root / name)
        _split_rows(root / name)
        (root / f"{name}_training.yaml").write_text(TRAINING.format(task=folder.task(name)))
    folder.data = {
        "models": {"m": str(folder.model)},
        "tasks": {"seen": [str(folder.task("headlines"))], "unseen": [str(folder.task("letters"))]},
        "training": {
            "head": str(root / "headlines_training.yaml"),
            "let": str(root / "letters_training.yaml"),
            "multi": {
                "file": str(root / "headlines_training.yaml"),
                "set": {"tasks": [str(folder.task("headlines")), str(folder.task("letters"))]},
            },
        },
        "merges": {
            "both": {"experts": ["head", "let"], "recipe": "task_arithmetic", "weights": {"head": 0.75}},
            "dense": {"experts": ["head", "let"], "recipe": "ties", "set": {"density": 0.5}, "adapter": False},
        },
        "board": {"reference": "multi"},
    }
    return folder


def _write_model(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    weights = {"model.layers.0.q_proj.weight": np.ones((8, 4), np.float32), "lm_head.weight": np.ones((9, 4))}
    save_file(weights, folder / "model.safetensors")


def _split_rows(folder: Path) -> None:
    """Write one file per split, so that one can be changed without the others."""
    header, *lines = (folder / "rows.csv").read_text(encoding="utf-8").splitlines()
    lines = list({line.split(",")[0]: line for line in lines}.values())
    names = {}
    for split, count in SPLITS.items():
        names[split] = f"{split}.csv"
        (folder / names[split]).write_text("\n".join([header, *lines[:count]]) + "\n", encoding="utf-8")
        lines = lines[count:]
    task = folder / f"{folder.name}.yaml"
    task_lines = [line for line in task.read_text(encoding="utf-8").splitlines() if not line.startswith("  splits:")]
    files = f"  files: {json.dumps(names)}"
    task.write_text("\n".join(files if "  file: " in line else line for line in task_lines) + "\n", encoding="utf-8")
