"""docs/new-task.md, typed line by line: with the real small model, scored, trained and scored again."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.commands import Block, blocks

PAGE = blocks((ROOT / "docs" / "new-task.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, demo_model_path: Path) -> Path:
    """A folder with the table and nothing else; the small model is there already."""
    folder = tmp_path_factory.mktemp("mine")
    shutil.copy(ROOT / "examples" / "headlines" / "rows.csv", folder)
    return folder


def typed(block: Block, folder: Path) -> str:
    """What a terminal shows of a block's commands."""
    path = os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"])
    # A busy core beside it makes two threads ten times slower than one.
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        ["bash", "-e", "-c", block.text],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == block.status, done.stdout[-6000:]
    return done.stdout


def test_every_command_on_the_page_and_what_it_prints(folder: Path) -> None:
    printed = ""
    for block in PAGE:
        if block.language == "sh":
            printed = typed(block, folder)
        elif not block.language:
            assert [line for line in block.text.splitlines() if line not in printed] == [], printed
    board = json.loads((folder / "board" / "board.json").read_text(encoding="utf-8"))
    assert {column["key"] for column in board["columns"]} == {"headlines", "headlines_gen"}
    models = {cell["model"] for cell in board["cells"]}
    assert len(board["cells"]) == 4 and len(models) == 2 and any("trained" in model for model in models)


def test_the_page_shows_commands_and_no_machine() -> None:
    commands = [command for block in PAGE if block.language == "sh" for command in block.commands]
    ours = [command[1:3] for command in commands if command[0] == "fin"]
    verbs = [" ".join(words) if words[0] == "task" else words[0] for words in ours]
    assert list(dict.fromkeys(verbs)) == ["task new", "task check", "task show", "eval", "train", "board"]
    assert not any(word.startswith("/") for command in commands for word in command)
