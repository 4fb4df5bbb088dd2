"""A file or folder is there whole or not at all; unfinished ones of killed runs go, those of running ones stay."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fin_plugins.board.rendering.write_board import write_board
from fin_plugins.common.atomic import remove_unfinished_files, unfinished_file, unfinished_folder, write_file
from fin_plugins.common.file_lock import Locked
from tests.board import boards

# Writes into the folder that is given and stops in the middle, where it can be killed.
HALF = """
import os, sys, time
from pathlib import Path
from fin_plugins.common.atomic import write_file
def stop(descriptor):
    print("half", flush=True)
    time.sleep(600)
os.fsync = stop
write_file(Path(sys.argv[1]) / "board.md", b"half")
"""


def half_written(folder: Path) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen([sys.executable, "-c", HALF, str(folder)], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"half\n"
    return process


def leftovers(folder: Path) -> list[Path]:
    return sorted(folder.glob(".*"))


def test_a_killed_runs_leftovers_go_and_a_running_ones_stay(tmp_path: Path) -> None:
    killed, running = half_written(tmp_path), half_written(tmp_path)
    try:
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        assert len(leftovers(tmp_path)) == 2
        write_board(boards.empty(), tmp_path)
        assert len(leftovers(tmp_path)) == 1
        assert (tmp_path / "board.md").read_bytes() != b"half"
    finally:
        running.kill()
        running.wait()
    write_board(boards.empty(), tmp_path)
    assert leftovers(tmp_path) == []


def test_what_others_put_there_stays(tmp_path: Path) -> None:
    for name in (".git", "board.part", ".film.part", ".keep"):
        (tmp_path / name).write_text("")
    remove_unfinished_files(tmp_path)
    write_file(tmp_path / "deep" / "a", b"1")
    assert {file.name for file in tmp_path.iterdir()} == {".git", "board.part", ".film.part", ".keep", "deep"}
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["a"]


@pytest.mark.parametrize("content", ["ä", "ä".encode(), lambda part: part.write_text("ä", encoding="utf-8")])
def test_text_bytes_or_a_writer(content: object, tmp_path: Path) -> None:
    write_file(tmp_path / "deep" / "a", content)  # type: ignore[arg-type]
    assert (tmp_path / "deep" / "a").read_bytes() == "ä".encode()


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    write_file(tmp_path / "a", "old")
    with pytest.raises(ValueError, match="half"), unfinished_file(tmp_path / "a") as part:
        part.write_text("new")
        raise ValueError("half")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a", "old")]


def test_a_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with unfinished_folder(tmp_path / "out") as unfinished:
            (unfinished / name).write_text(name)
            with pytest.raises(Locked), unfinished_folder(tmp_path / "out"):
                raise AssertionError
        assert [file.name for file in (tmp_path / "out").iterdir()] == [name]
    with pytest.raises(ValueError, match="half"), unfinished_folder(tmp_path / "out") as unfinished:
        raise ValueError("half")
    assert [file.name for file in tmp_path.iterdir()] == ["out"] and (tmp_path / "out" / "second").is_file()
