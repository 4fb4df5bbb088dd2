"""`fin eval` with adapters, as typed: one real engine, the real model, an adapter that was really trained.

The worked examples are scored beside shipped tasks, so that they need no engine of their own.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from fin_plugins.demo.run import ENVIRONMENT
from tests.conftest import ROOT, samples
from tests.scoring.prompts import tiny_adapter

EXAMPLES = ["headlines", "headlines_gen", "letters", "letters_gen"]
TASKS = ["fin_fomc", "fin_argument_gen", *EXAMPLES]


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
        *("train", "demo", "--set", tasks, "--set", "epochs=1", "--set", "validation=off", "--out", str(folder)),
        OMP_NUM_THREADS="1",
    )
    assert "fin eval --model fin_hf" in printed
    return folder


@dataclass(frozen=True)
class Scored:
    """A run of `fin eval`."""

    command: list[str]
    printed: str
    out: Path
    models: dict[str, str]


@pytest.fixture(scope="module")
def scored(trained: Path, demo_model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Scored:
    """Base and two adapters on every task."""
    folder = tmp_path_factory.mktemp("scored")
    other = tiny_adapter(demo_model_path, folder / "random", seed=3)
    command = [
        *("eval", "--model", "fin_vllm", "--tasks", ",".join(TASKS), "--limit", "2", "--apply_chat_template"),
        *("--include_path", str(ROOT / "examples")),
        *("--model_args", f"pretrained={demo_model_path},dtype=float32,max_model_len=2048,enforce_eager=True"),
        *("--adapter", f"fomc={trained}", "--adapter", f"random={other}", "--verify-adapters"),
        *("--output_path", str(folder / "out")),
    ]
    models = {"base": str(demo_model_path), "fomc": str(trained), "random": str(other)}
    return Scored(command, fin(*command), folder / "out", models)


def test_base_and_adapters_on_one_engine(scored: Scored) -> None:
    assert scored.printed.count("engine started") == 1
    files = {}
    for file in scored.out.rglob("results_*.json"):
        result = json.loads(file.read_text(encoding="utf-8"))
        files[result["config"]["model_args"].get("adapter_name", "base")] = (file, result)
    assert set(files) == {"base", "fomc", "random"}
    answers = set()
    for name, (file, result) in files.items():
        assert set(result["results"]) == set(TASKS)
        assert result["model_source"] == result["config"]["model"] == "fin_vllm"
        assert result["model_name"] == scored.models[name]
        rows = samples(file.parent, "fin_fomc")
        assert len(rows) == len(samples(file.parent, "fin_argument_gen")) == 2
        answers.add(json.dumps([row["filtered_resps"] for row in rows]))
    assert len(answers) == 3
    before = sorted(scored.out.rglob("*.json*"))
    again = fin(*scored.command)
    assert "engine started" not in again
    assert sorted(scored.out.rglob("*.json*")) == before


def test_the_worked_examples_stand_on_a_board(scored: Scored, tmp_path: Path) -> None:
    fin("board", str(scored.out), "--out", str(tmp_path), "--no-published")
    board = json.loads((tmp_path / "board.json").read_text(encoding="utf-8"))
    columns = {column["key"]: column for column in board["columns"]}
    assert set(columns) == set(TASKS)
    for name in EXAMPLES:
        assert len({cell["model"] for cell in board["cells"] if cell["column"] == name}) == 3
        assert columns[name]["seen"] is name.startswith("headlines")
        assert columns[name]["protocol"] == ("gen" if name.endswith("_gen") else "choice")
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "headlines" in page and "letters" in page
