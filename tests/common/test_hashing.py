"""Tests of content hashes and of when they are cached."""

import json
import mmap
import os
import tempfile
import time
from pathlib import Path

import pytest

from fin_plugins.common import hashing
from fin_plugins.common.errors import FinError
from fin_plugins.common.file_state import file_state
from fin_plugins.common.hashing import digest, hash_files, model_files


@pytest.fixture(autouse=True)
def _separate_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def _skip_without_reliable_times(folder: Path) -> None:
    probe = folder / "probe"
    probe.write_bytes(b"x")
    if file_state(probe) is None:
        pytest.skip(
            "the file system of the temporary folder does not update times at every change: hashes are not cached"
        )


def test_large_files_are_read_again_only_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _skip_without_reliable_times(tmp_path)
    monkeypatch.setattr(hashing, "_SETTLED", -10.0)  # cache at once; see test_a_file_just_written_is_not_cached
    file = tmp_path / "weights.bin"
    file.write_bytes(b"x" * (2 << 20))
    first = hash_files([file], tmp_path)
    reads: list[Path] = []
    original = Path.open

    def recording(self: Path, *arguments: object, **more: object) -> object:
        reads.append(self)
        return original(self, *arguments, **more)

    monkeypatch.setattr(Path, "open", recording)
    assert hash_files([file], tmp_path) == first and file not in reads
    stat = file.stat()
    with original(file, "r+b") as stream:
        stream.seek(1 << 20)
        stream.write(b"y")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # size and time as before: the content is not
    assert hash_files([file], tmp_path) != first and file in reads
    os.utime(file, (1e9, 1e9))
    changed = hash_files([file], tmp_path)
    assert changed != first


@pytest.mark.parametrize("place", ["here", "memory"])
def test_weights_changed_through_a_memory_map_are_read_again(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Path("/dev/shm")
    if place == "memory" and not memory.is_dir():
        pytest.skip("no file system in memory at /dev/shm")
    monkeypatch.setattr(hashing, "_SETTLED", -10.0)
    with tempfile.TemporaryDirectory(dir=memory if place == "memory" else tmp_path) as folder:
        file = Path(folder) / "weights.bin"
        file.write_bytes(b"x" * (2 << 20))
        with file.open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as mapped:
            mapped[1 << 20] = 1  # the page is dirty now: further writes do not change the times
            first = hash_files([file], Path(folder))
            time.sleep(0.05)  # longer than one tick of the kernel's clock
            mapped[1 << 20] = 2
            assert hash_files([file], Path(folder)) != first
            time.sleep(0.05)
            mapped[1 << 20] = 1
            assert hash_files([file], Path(folder)) == first


def test_a_file_just_written_is_not_cached(tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(b"x" * (2 << 20))
    hash_files([file], tmp_path)
    assert not list((tmp_path / "cache").rglob("*.json"))


def test_a_damaged_cache_entry_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _skip_without_reliable_times(tmp_path)
    monkeypatch.setattr(hashing, "_SETTLED", -10.0)
    file = tmp_path / "weights.bin"
    file.write_bytes(b"x" * (2 << 20))
    first = hash_files([file], tmp_path)
    (entry,) = (tmp_path / "cache").rglob("*.json")
    entry.write_text("{")
    assert hash_files([file], tmp_path) == first
    assert json.loads(entry.read_text())["sha256"] == first["weights.bin"]


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FinError, match=r"gone.*No such file"):
        hash_files([tmp_path / "gone"], tmp_path)
    assert model_files(tmp_path) == []


def test_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [1, {"c": 2, "d": 3}]}) == digest({"b": [1, {"d": 3, "c": 2}], "a": 1})
    assert digest({"a": 1}) != digest({"a": "1"})
    assert digest("\ud800") != digest("?")
