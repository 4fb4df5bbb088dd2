"""`fin eval` with adapters, as typed: one real engine, the real model, an adapter that was really trained."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fin_plugins.demo.run import ENVIRONMENT
from tests.conftest import samples
from tests.scoring.prompts import tiny_adapter

TASKS = ["fin_fomc", "fin_argument_gen"]


def fin(*arguments: str, **env: str) -> str:
    command = [str(Path(sys.executable).parent / "fin"), *arguments]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), **ENVIRONMENT, **env}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped configuration on fewer rows, as typed: what it learns in half a minute does not matter."""
    folder = tmp_path_factory.mktemp("trained") / "fomc"
    tasks = "tasks=[{task: fin_fomc, cap: 16}]"
    # A busy core beside it makes two threads ten times slower than one.
    printed = fin(
        *("train", "demo", "--set", tasks, "--set", "epochs=1", "--set", "validation=off", "--output", str(folder)),
        OMP_NUM_THREADS="1",
    )
    assert "fin eval --model fin_hf" in printed
    return folder


def test_base_and_adapters_on_one_engine(trained: Path, demo_model_path: Path, tmp_path: Path) -> None:
    other = tiny_adapter(demo_model_path, tmp_path / "random", seed=3)
    out = tmp_path / "out"
    command = [
        *("eval", "--model", "fin_vllm", "--tasks", ",".join(TASKS), "--limit", "8", "--apply_chat_template"),
        *("--model_args", f"pretrained={demo_model_path},dtype=float32,max_model_len=2048,enforce_eager=True"),
        *("--adapter", f"fomc={trained}", "--adapter", f"random={other}", "--verify-adapters"),
        *("--output_path", str(out)),
    ]
    printed = fin(*command)
    assert printed.count("engine started") == 1
    files = {}
    for file in out.rglob("results_*.json"):
        result = json.loads(file.read_text(encoding="utf-8"))
        files[result["config"]["model_args"].get("adapter_name", "base")] = (file, result)
    assert set(files) == {"base", "fomc", "random"}
    answers = set()
    for name, (file, result) in files.items():
        assert set(result["results"]) == set(TASKS)
        assert result["model_source"] == result["config"]["model"] == "fin_vllm"
        assert result["model_name"] == {"base": str(demo_model_path), "fomc": str(trained), "random": str(other)}[name]
        rows = samples(file.parent, "fin_fomc")
        assert len(rows) == 8 and len(samples(file.parent, "fin_argument_gen")) == 8
        answers.add(json.dumps([row["filtered_resps"] for row in rows]))
    assert len(answers) == 3
    before = sorted(out.rglob("*.json*"))
    again = fin(*command)
    assert "engine started" not in again
    assert sorted(out.rglob("*.json*")) == before
