"""`fin eval` with the demo model and two adapters on one vLLM engine, and the board of its results.

The same run scores the tasks in `examples/`, to save an engine start.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from fin_plugins.demo import ENVIRONMENT
from tests.conftest import ROOT, samples
from tests.scoring.factories import tiny_adapter

EXAMPLES = ["headlines", "letters_gen"]
TASKS = ["fin_fomc", "fin_argument_gen", *EXAMPLES]


def fin(*arguments: str, **env: str) -> str:
    command = [str(Path(sys.executable).parent / "fin"), *arguments]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), **ENVIRONMENT, **env}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, cwd="/")
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-6000:]
    return process.stdout + process.stderr


@dataclass(frozen=True)
class Run:
    """A finished run of `fin eval`.

    Attributes:
        command: arguments of `fin`.
        output: its standard output and error.
        folder: folder of the result files.
        models: name to path of the base and the adapters.
    """

    command: list[str]
    output: str
    folder: Path
    models: dict[str, str]


@pytest.fixture(scope="module")
def run(demo_model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("adapters")
    adapters = {name: tiny_adapter(demo_model_path, folder / name, seed) for seed, name in enumerate(("fomc", "fpb"))}
    command = [
        *("eval", "--model", "fin_vllm", "--tasks", ",".join(TASKS), "--limit", "2", "--apply_chat_template"),
        *("--include_path", str(ROOT / "examples")),
        *("--model_args", f"pretrained={demo_model_path},dtype=float32,max_model_len=2048,enforce_eager=True"),
        *(f"--adapter={name}={path}" for name, path in adapters.items()),
        "--verify-adapters",
        *("--output_path", str(folder / "out")),
    ]
    models = {"base": demo_model_path, **adapters}
    return Run(command, fin(*command), folder / "out", {name: str(path) for name, path in models.items()})


def test_base_and_adapters_on_one_engine(run: Run) -> None:
    assert run.output.count("engine started") == 1
    files = {}
    for file in run.folder.rglob("results_*.json"):
        result = json.loads(file.read_text(encoding="utf-8"))
        files[result["config"]["model_args"].get("adapter_name", "base")] = (file, result)
    assert set(files) == set(run.models)
    answers = set()
    for name, (file, result) in files.items():
        assert set(result["results"]) == set(TASKS)
        assert result["model_source"] == result["config"]["model"] == "fin_vllm"
        assert result["model_name"] == run.models[name]
        rows = samples(file.parent, "fin_fomc")
        assert len(rows) == len(samples(file.parent, "fin_argument_gen")) == 2
        answers.add(json.dumps([row["filtered_resps"] for row in rows]))
    assert len(answers) == 3
    output_files = sorted(run.folder.rglob("*.json*"))
    assert "engine started" not in fin(*run.command)
    assert sorted(run.folder.rglob("*.json*")) == output_files


def test_the_board_shows_the_example_tasks(run: Run, tmp_path: Path) -> None:
    fin("board", str(run.folder), "--out", str(tmp_path), "--no-published")
    board = json.loads((tmp_path / "board.json").read_text(encoding="utf-8"))
    columns = {column["key"]: column for column in board["columns"]}
    assert set(columns) == set(TASKS)
    for name in EXAMPLES:
        assert len({cell["model"] for cell in board["cells"] if cell["column"] == name}) == 3
        assert columns[name]["seen"] is name.startswith("headlines")
        assert columns[name]["protocol"] == ("gen" if name.endswith("_gen") else "choice")
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "headlines" in page and "letters" in page
