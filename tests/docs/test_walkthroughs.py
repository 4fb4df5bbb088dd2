"""The pages that are typed line by line: with a tiny model here, with the real one and a shell in `make prove`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.commands import Block, blocks

PAGES = ("get-started", "guides/new-task")
BLOCKS = {page: blocks((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")) for page in PAGES}
TABLE = ROOT / "examples" / "headlines" / "rows.csv"


def environment(**more: str) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"])
    # A busy core beside it makes two threads ten times slower than one.
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **more}


def commands(page: str) -> list[Block]:
    return [block for block in BLOCKS[page] if block.language == "sh"]


def check_printed(page: str, printed: list[str]) -> None:
    """Every line that a page shows is in what the block before it printed."""
    outputs = iter(printed)
    output = ""
    for block in BLOCKS[page]:
        if block.language == "sh":
            output = next(outputs)
        elif not block.language:
            assert [line for line in block.text.splitlines() if line not in output] == [], output


def check_board(folder: Path, tasks: set[str], models: int) -> None:
    board = json.loads((folder / "board" / "board.json").read_text(encoding="utf-8"))
    assert {column["key"] for column in board["columns"]} >= tasks
    assert len({cell["model"] for cell in board["cells"]}) == models


def check_boards(folder: Path) -> None:
    unseen = {f"fin_{name}{twin}" for name in ("argument", "deal", "causal") for twin in ("", "_gen")}
    check_board(folder / "0", unseen, 1)
    check_board(folder / "1", {"headlines", "headlines_gen"}, 2)


@pytest.fixture(scope="module")
def tiny_demo_model(tmp_path_factory: pytest.TempPathFactory, demo_model_path: Path) -> Path:
    """A folder for FIN_MODEL_DIR: the small model's tokenizer and template around random weights of 2 layers."""
    from transformers import AutoConfig, AutoModelForCausalLM, set_seed

    models = tmp_path_factory.mktemp("models")
    folder = models / demo_model_path.name
    shutil.copytree(demo_model_path, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = AutoConfig.from_pretrained(
        demo_model_path, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, head_dim=16,
    )  # fmt: skip
    set_seed(7)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return models


def test_every_command_and_what_it_prints(tmp_path: Path, tiny_demo_model: Path) -> None:
    (tmp_path / "1").mkdir()
    shutil.copy(TABLE, tmp_path / "1")
    done = subprocess.run(
        [sys.executable, "-m", "tests.docs.session", str(tmp_path)],
        input=json.dumps([[(block.text, block.status) for block in commands(page)] for page in PAGES]),
        cwd=ROOT, env=environment(FIN_MODEL_DIR=str(tiny_demo_model)), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-6000:]
    for page, printed in zip(PAGES, json.loads(done.stdout), strict=True):
        check_printed(page, printed)
    check_boards(tmp_path)


@pytest.mark.prove
def test_every_command_in_a_shell_with_the_real_model(tmp_path: Path, demo_model_path: Path) -> None:
    for number, page in enumerate(PAGES):
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copy(TABLE, folder)
        printed = []
        for block in commands(page):
            done = subprocess.run(
                ["bash", "-e", "-c", block.text],
                cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
            assert done.returncode == block.status, done.stdout[-6000:]
            printed.append(done.stdout)
        check_printed(page, printed)
    check_boards(tmp_path)


def test_the_walkthrough_of_a_task_goes_through_every_verb() -> None:
    words = [command for block in commands("guides/new-task") for command in block.commands if command[0] == "fin"]
    verbs = [" ".join(command[1:3]) if command[1] == "task" else command[1] for command in words]
    assert list(dict.fromkeys(verbs)) == ["task new", "task check", "task show", "eval", "train", "board"]
