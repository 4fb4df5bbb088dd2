"""An experiment on two tasks of the user's own, over a model that is a few numbers: nothing is run, only planned."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from fin_plugins.experiments.config import Experiment
from fin_plugins.experiments.planning.plan import make_plan
from fin_plugins.experiments.steps import Plan, Step
from tests.conftest import ROOT

TRAINING = "model: demo\ntasks: [{task}]\nvalidation: off\n"
SPLITS = {"train": 60, "validation": 20, "test": 40}


@dataclass
class World:
    """A folder with a model, tasks and training files, and what an experiment says."""

    root: Path
    said: dict[str, Any] = field(default_factory=dict)

    def task(self, name: str) -> Path:
        return self.root / name / f"{name}.yaml"

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def work(self) -> Path:
        return self.root / "work"

    def plan(self, **changes: Any) -> Plan:
        return make_plan(Experiment.model_validate({**self.said, **changes}), "test", self.work)

    def edit(self, file: Path, before: str, after: str) -> None:
        text = file.read_text(encoding="utf-8")
        assert before in text
        file.write_text(text.replace(before, after, 1), encoding="utf-8")

    def finish(self, steps: tuple[Step, ...]) -> None:
        """Have it all there, as if the steps had been run."""
        for path in (path for step in steps for path in (*step.markers, *step.outputs)):
            (self.work / path).parent.mkdir(parents=True, exist_ok=True)
            (self.work / path).write_text("{}", encoding="utf-8")


def make_world(root: Path) -> World:
    """`head` is trained on one task, `letters` on the other, `multi` on both; two merges, everything scored."""
    world = World(root)
    _model(world.model)
    for name in ("headlines", "letters"):
        shutil.copytree(ROOT / "examples" / name, root / name)
        _split(root / name)
        (root / f"{name}_training.yaml").write_text(TRAINING.format(task=world.task(name)))
    world.said = {
        "models": {"m": str(world.model)},
        "tasks": {"seen": [str(world.task("headlines"))], "unseen": [str(world.task("letters"))]},
        "training": {
            "head": str(root / "headlines_training.yaml"),
            "let": str(root / "letters_training.yaml"),
            "multi": {
                "file": str(root / "headlines_training.yaml"),
                "set": {"tasks": [str(world.task("headlines")), str(world.task("letters"))]},
            },
        },
        "merges": {
            "both": {"experts": ["head", "let"], "recipe": "task_arithmetic", "weights": {"head": 0.75}},
            "dense": {"experts": ["head", "let"], "recipe": "ties", "set": {"density": 0.5}, "adapter": False},
        },
        "board": {"reference": "multi"},
    }
    return world


def _model(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    weights = {"model.layers.0.q_proj.weight": np.ones((8, 4), np.float32), "lm_head.weight": np.ones((9, 4))}
    save_file(weights, folder / "model.safetensors")


def _split(folder: Path) -> None:
    """A file a split, so that one can be changed without the others."""
    head, *lines = (folder / "rows.csv").read_text(encoding="utf-8").splitlines()
    lines = list({line.split(",")[0]: line for line in lines}.values())
    names = {}
    for split, count in SPLITS.items():
        names[split] = f"{split}.csv"
        own, lines = lines[:count], lines[count:]
        (folder / names[split]).write_text("\n".join([head, *own]) + "\n", encoding="utf-8")
    task = folder / f"{folder.name}.yaml"
    kept = [line for line in task.read_text(encoding="utf-8").splitlines() if not line.startswith("  splits:")]
    files = f"  files: {json.dumps(names)}"
    task.write_text("\n".join(files if "  file: " in line else line for line in kept) + "\n", encoding="utf-8")
