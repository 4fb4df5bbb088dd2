"""What `fin eval` prints on a terminal, in a process of its own outside any git repository."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.evaluation.factories import adapter

NOISE = (
    *("Custom kwargs", "fatal:", "Building contexts", "it/s]"),
    *("Setting random seed", "Selected tasks", "appears to be"),
)


@pytest.fixture(scope="module")
def printed(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """Two models on two tasks."""
    folder = tmp_path_factory.mktemp("outside")
    base = tiny_models["base"]
    adapter(folder / "adapter", base, 0.5)
    command = [
        *(Path(sys.executable).with_name("fin"), "eval", "--model", "fin_hf", "--device", "cpu", "--batch_size", "4"),
        *("--model_args", f"pretrained={base},dtype=float32", "--tasks", "fin_fomc,fin_fpb", "--limit", "4"),
        *("--adapter", f"mine={folder / 'adapter'}", "--any-base", "--output_path", "results"),
    ]
    environment = {**os.environ, "FIN_DATA": "sample", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)


def test_other_libraries_are_quiet(printed: subprocess.CompletedProcess[str]) -> None:
    assert [text for text in NOISE if text in printed.stderr + printed.stdout] == []
    assert len(printed.stderr.splitlines()) <= 20, printed.stderr


def test_progress_is_reported(printed: subprocess.CompletedProcess[str]) -> None:
    for text in (
        "base, mine",
        "[1/4] base · fin_fomc",
        "[4/4] mine · fin_fpb",
        "engine started (1)",
        "fin board results",
    ):
        assert text in printed.stderr


def test_each_model_has_a_table_and_both_share_one(printed: subprocess.CompletedProcess[str]) -> None:
    assert printed.stdout.count("|fin_fomc") == 2
    header = next(line for line in printed.stdout.splitlines() if line.startswith("| task"))
    assert "base" in header and "mine" in header
