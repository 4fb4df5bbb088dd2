"""Tests of file locks: one holder at a time, and no stale lock however the holder ended."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.common.file_lock import FILE, exclusive, try_lock

HOLD = (
    "import sys; from pathlib import Path; from fin_plugins.common.file_lock import exclusive\n"
    "with exclusive(Path(sys.argv[1]), 'fin train'): print('held', flush=True); sys.stdin.read()"
)


def test_a_running_holder_is_named_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(FinError, match=rf"`fin train` .*process {holder.pid} on"):
        exclusive(tmp_path, "fin train").__enter__()
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with exclusive(tmp_path, "fin train"):
        assert (tmp_path / FILE).is_file()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_removed_under_the_lock_is_not_locked_twice(tmp_path: Path) -> None:
    first = try_lock(tmp_path / FILE)
    assert first is not None
    (tmp_path / FILE).unlink()
    second = try_lock(tmp_path / FILE)
    assert second is not None
    assert os.path.samestat(os.fstat(second), (tmp_path / FILE).stat())
    os.close(first)
    assert try_lock(tmp_path / FILE) is None
    os.close(second)


def test_an_exception_releases_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="x"), exclusive(tmp_path / "new", "fin train"):
        raise ValueError("x")
    with exclusive(tmp_path / "new", "fin train"):
        pass


def test_an_unwritable_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FinError, match="cannot be written"), exclusive(tmp_path / "file", "fin train"):
        pass
