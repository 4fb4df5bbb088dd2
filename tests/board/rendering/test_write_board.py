"""All output files of one board: complete, the same bytes every time, and clear errors."""

from dataclasses import replace
from pathlib import Path

import pytest

from fin_plugins.board.board_data import Board
from fin_plugins.board.rendering.write_board import write_board
from fin_plugins.common.errors import FinError
from tests.board import boards

NAMES = ["board.md", "board.csv", "board.json", "board.tex", "index.html"]


def test_rebuild_gives_the_same_bytes(full_board: Board, folders: dict[str, Path], tmp_path: Path) -> None:
    for name, board in (("board", full_board), ("hostile", boards.hostile()), ("empty", boards.empty())):
        files = write_board(board, tmp_path / name, with_documents=name == "hostile")
        assert [file.name for file in files] == NAMES
        assert [file.read_bytes() for file in files] == [(folders[name] / file.name).read_bytes() for file in files]
        assert sorted(file.name for file in (tmp_path / name).iterdir()) == sorted(NAMES), "no temporary file is left"


def test_rebuild_replaces_the_old_files(folders: dict[str, Path], tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).write_bytes((folders["board"] / name).read_bytes())
    for file in write_board(boards.empty(), tmp_path):
        assert file.read_bytes() == (folders["empty"] / file.name).read_bytes()


def test_names_with_undecodable_bytes(full_board: Board, tmp_path: Path) -> None:
    column = full_board.columns[0]
    name = "bad\udcff\x00name"
    entry = replace(column.entries[0], model=name, source=replace(column.entries[0].source, file="\udcff.json"))
    cell = replace(full_board.cells[column.key, column.entries[0].model], entry=entry)
    board = replace(boards.empty(), columns=(replace(column, entries=(entry,)),), cells={(column.key, name): cell})
    for file in write_board(board, tmp_path):
        assert "bad name" in file.read_text(encoding="utf-8") or r"bad\udcff" in file.read_text(encoding="utf-8")


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FinError, match=r"file/out/board\.md: .*--out"):
        write_board(boards.empty(), tmp_path / "file" / "out")
