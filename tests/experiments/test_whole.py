"""Whole experiments, real ones: killed at any moment and gone on with, they make the same board byte for byte."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.experiments.running.killing import at_work, wait_until

FIN = (sys.executable, "-c", "from fin_plugins.cli.main import main; main()")
TINY = """
models: {{tiny: {model}}}
tasks: {{seen: [fin_fomc, fin_fpb], unseen: [fin_deal]}}
rows: {{data: sample, test: 3}}
training:
  fomc: {{file: demo, set: {{tasks: [fin_fomc], max_steps: 4, max_length: 4096, validation: off}}}}
  sentiment: {{file: demo, set: {{tasks: [fin_fpb], max_steps: 4, max_length: 4096, validation: off}}}}
merges:
  average: {{experts: [fomc, sentiment], recipe: task_arithmetic}}
board: {{reference: fomc}}
resources: {{train: {{cores: 1}}}}
"""
LEAST = """
models: {{tiny: {model}}}
tasks: {{seen: [fin_fomc], unseen: [fin_deal]}}
rows: {{data: sample, test: 3}}
training:
  fomc: {{file: demo, set: {{tasks: [fin_fomc], max_steps: 2, max_length: 4096, validation: off}}}}
board: {{reference: fomc}}
resources: {{train: {{cores: 1}}}}
"""


def start(file: str, work: Path) -> subprocess.Popen[bytes]:
    with (work.parent / f"{work.name}.log").open("ab") as log:
        words = [*FIN, "run", file, "--out", str(work)]
        return subprocess.Popen(words, start_new_session=True, stdout=log, stderr=log)


def run(file: str, work: Path) -> None:
    log = work.parent / f"{work.name}.log"
    assert start(file, work).wait() == 0, log.read_text(encoding="utf-8")[-3000:]


def kill(file: str, work: Path, seconds: float) -> None:
    """Start a run, and kill it that many seconds after a step has begun; it may be through by then."""
    process = start(file, work)
    running = work / "running"
    wait_until(lambda: list(running.glob("*.json")) or process.poll() is not None)
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not at_work(work))


def made(work: Path) -> dict[str, str]:
    """Hashes of the board's files and of all adapters and checkpoints, by path."""
    files = [*work.glob("board/**/*"), *work.glob("*/**/*.safetensors")]
    there = {str(file.relative_to(work)): file for file in files if file.is_file()}
    return {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in there.items()}


def ends_with_the_same(file: str, folder: Path, *, times: int, seed: int) -> None:
    before = time.monotonic()
    run(file, folder / "unbroken")
    whole, moments = time.monotonic() - before, random.Random(seed)
    for _ in range(times):  # each goes on from the one before: the kills fall all over the run
        kill(file, folder / "killed", moments.uniform(0, whole / times))
    run(file, folder / "killed")
    unbroken, killed = made(folder / "unbroken"), made(folder / "killed")
    assert any(name.startswith("board/") for name in unbroken) and any(name.endswith("tensors") for name in unbroken)
    assert killed == unbroken  # boards name the day: not to be run over midnight, UTC


def test_one_expert_after_a_kill(tmp_path: Path, tiny_models: dict[str, Path]) -> None:
    """The least that is an experiment: trained, killed, gone on with, scored, on a board."""
    file, work = tmp_path / "least.yaml", tmp_path / "work"
    file.write_text(LEAST.format(model=tiny_models["llama3"]), encoding="utf-8")
    kill(str(file), work, 5)
    run(str(file), work)
    (file_of_board,) = (work / "board").glob("*/board.json")
    board = json.loads(file_of_board.read_text(encoding="utf-8"))
    assert {column["key"] for column in board["columns"]} == {"fin_fomc", "fin_fomc_gen", "fin_deal", "fin_deal_gen"}
    assert len({cell["model"] for cell in board["cells"]}) == 2


@pytest.mark.prove
def test_a_tiny_experiment(tmp_path: Path, tiny_models: dict[str, Path]) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY.format(model=tiny_models["llama3"]), encoding="utf-8")
    ends_with_the_same(str(file), tmp_path, times=1, seed=1)


@pytest.mark.prove
@pytest.mark.usefixtures("demo_model_path")
def test_the_demo(tmp_path: Path) -> None:
    ends_with_the_same("demo", tmp_path, times=3, seed=2)
