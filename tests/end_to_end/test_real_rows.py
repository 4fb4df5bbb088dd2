"""Command of the task card on all real rows of the unseen tasks, both protocols; takes over half an hour."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.checks import VLLM_ARGUMENTS, check_run, lm_eval

pytestmark = pytest.mark.prove


def test_every_real_row_of_the_unseen_tasks(mirror: Path, demo_model_path: Path, tmp_path: Path) -> None:
    settings = {"FIN_DATA": "real", "FIN_DATA_DIR": str(tmp_path / "data")}
    fin = str(Path(sys.executable).parent / "fin")
    subprocess.run([fin, "data", "fetch", "--mirror", str(mirror)], env={**os.environ, **settings}, check=True)
    printed = lm_eval(
        *("--tasks", "fin_unseen,fin_unseen_gen", "--model", "vllm", "--batch_size", "auto", "--apply_chat_template"),
        *("--model_args", f"pretrained={demo_model_path},{VLLM_ARGUMENTS}"),
        *("--output_path", str(tmp_path / "out"), "--log_samples"),
        **settings,
    )
    tasks = [f"fin_{key}{suffix}" for key in ("argument", "deal", "causal") for suffix in ("", "_gen")]
    results = check_run(tmp_path / "out", printed, tasks, "real")
    sizes = {task: results["n-samples"][task]["effective"] for task in tasks}
    assert set(sizes.values()) == {969, 500, 800}
