"""All outputs from one board: whole, the same bytes every time, and clear errors."""

from dataclasses import replace
from pathlib import Path

import pytest

from fin_plugins.board.model import Board
from fin_plugins.board.rendering import render
from fin_plugins.common.errors import FinError
from tests.board import boards

NAMES = ["board.md", "board.csv", "board.json", "board.tex", "index.html"]


def test_a_rebuild_is_the_same_to_the_byte(tmp_path: Path) -> None:
    for name, documents in (("board", False), ("hostile", True), ("empty", False)):
        one, other = (
            render(getattr(boards, name)(), tmp_path / f"{name}{go}", with_documents=documents) for go in (1, 2)
        )
        assert [file.name for file in one] == NAMES
        assert [file.read_bytes() for file in one] == [file.read_bytes() for file in other]
        assert sorted(file.name for file in one[0].parent.iterdir()) == sorted(NAMES), "nothing half-written is left"


def test_a_rebuild_replaces_what_was_there(made: Board, tmp_path: Path) -> None:
    first = [file.read_text(encoding="utf-8") for file in render(boards.empty(), tmp_path)]
    second = [file.read_text(encoding="utf-8") for file in render(made, tmp_path)]
    assert all(before != after for before, after in zip(first, second, strict=True))


def test_a_name_that_is_no_text_is_no_obstacle(made: Board, tmp_path: Path) -> None:
    column = made.columns[0]
    name = "bad\udcff\x00name"
    entry = replace(column.entries[0], model=name, source=replace(column.entries[0].source, file="\udcff.json"))
    cell = replace(made.cells[column.key, column.entries[0].model], entry=entry)
    board = replace(boards.empty(), columns=(replace(column, entries=(entry,)),), cells={(column.key, name): cell})
    for file in render(board, tmp_path):
        assert "bad name" in file.read_text(encoding="utf-8") or r"bad\udcff" in file.read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_written_is_named_with_a_way_out(made: Board, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FinError, match=r"file/out/board\.md: cannot be written .*give another --out"):
        render(made, tmp_path / "file" / "out")
