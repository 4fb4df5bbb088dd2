"""Training runs on tiny random models, in this process or a subprocess."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from fin_plugins.training.train_config import TrainConfig
from fin_plugins.training.train_run import TrainResult, train

# The tiny tokenizer has one token per byte, so prompts are long and batches small.
SMALL: dict[str, Any] = {
    "tasks": [{"task": "fin_fomc", "cap": 8}],
    "max_length": 4000,
    "batch_size": 2,
    "epochs": 2,
    "lora": {"r": 4, "alpha": 8},
    "learning_rate": 0.01,
    "dtype": "float32",
    "validation": {"rows": 6},
}


def run(model: Path | str, folder: Path, *, fresh: bool = False, **settings: Any) -> TrainResult:
    """Train in this process."""
    config = TrainConfig.model_validate({**SMALL, "model": str(model), "output": str(folder), **settings})
    return train(config, "tiny", fresh=fresh)


def losses(folder: Path) -> list[float]:
    """The loss curve in `train.json`."""
    record = json.loads((folder / "train.json").read_text(encoding="utf-8"))
    return [point["loss"] for point in record["loss_curve"]]


def start_process(file: Path, model: Path | str, folder: Path, **settings: Any) -> "subprocess.Popen[str]":
    """Start the command in a subprocess; writes its training file to `file`."""
    content = {**SMALL, "model": str(model), "output": str(folder), **settings}
    file.write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML
    return subprocess.Popen(
        [sys.executable, "-m", "fin_plugins.training", str(file)],
        env={**os.environ, "FIN_DATA": "sample", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
