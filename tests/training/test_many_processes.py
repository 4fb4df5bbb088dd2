"""Two processes train what one trains on the same batches, and count, validate and write once."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from tests.training.running import SMALL, losses, run

pytestmark = pytest.mark.usefixtures("sample_data", "one_thread")


@pytest.mark.prove  # three processes that load torch
def test_two_processes_are_one(tiny_models, tmp_path):
    settings = {**SMALL, "model": str(tiny_models["llama3"]), "validation": {"rows": 7}}
    file = tmp_path / "tiny.yaml"
    file.write_text(json.dumps({**settings, "batch_size": 1}), encoding="utf-8")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    machine = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    two = tmp_path / "two"
    done = subprocess.run(
        [*launch, *machine, "-m", "fin_plugins.training", str(file), "--out", str(two)],
        env={**os.environ, "FIN_DATA": "sample", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("reading and rendering the rows") == 1
    one = run(settings.pop("model"), tmp_path / "one", validation={"rows": 7})
    assert losses(two) == pytest.approx(losses(one.folder), rel=1e-5)
    record = json.loads((two / "train.json").read_text())
    for count in ("steps", "examples_seen", "tokens_seen"):
        assert record[count] == one.record[count]
    curves = [[check["mean"] for check in found["validation_curve"]] for found in (record, one.record)]
    assert curves[0] == pytest.approx(curves[1])
    weights = [load_file(folder / "adapter_model.safetensors") for folder in (two, one.folder)]
    for name, weight in weights[0].items():
        torch.testing.assert_close(weight, weights[1][name], rtol=1e-3, atol=1e-5)
