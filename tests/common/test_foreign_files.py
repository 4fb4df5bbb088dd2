"""Files that somebody else wrote: what they may be, how large and how deep."""

import os
import socket
from pathlib import Path

import pytest

from fin_plugins.common.foreign_files import (
    UnreadableFile,
    get_in,
    open_file,
    parse_json,
    read_bytes,
    read_json,
    read_text,
)


def test_plain_files_are_read_also_through_a_link_and_with_a_byte_order_mark(tmp_path: Path) -> None:
    file, link = tmp_path / "a.json", tmp_path / "link.json"
    file.write_bytes(b"\xef\xbb\xbf" + '{"name": ["ä", 1.5, null]}'.encode())
    link.symlink_to(file)
    assert read_json(link) == {"name": ["ä", 1.5, None]}
    assert read_text(file).startswith("{")
    with open_file(file) as opened:
        assert len(opened.read()) == len(read_bytes(file, file.stat().st_size))


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "socket", "loop", "absent", "NUL", "lone surrogate"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.json"
    server = None
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "NUL":
        path = tmp_path / "a\0b"
    elif kind == "lone surrogate":
        path = tmp_path / "lone \ud800 surrogate"
    try:
        with pytest.raises(UnreadableFile) as caught:
            read_json(path)
    finally:
        if server:
            server.close()
    assert caught.value.path == path and caught.value.reason and "\n" not in str(caught.value)


def test_a_file_over_the_limit_is_refused_without_being_read(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    with file.open("wb") as opened:
        opened.truncate(1 << 40)
    with pytest.raises(UnreadableFile, match="larger than 16 MiB"):
        read_bytes(file)
    with file.open("wb") as opened:
        opened.write(b"[1]")
    assert read_json(file, 3) == [1]
    with pytest.raises(UnreadableFile, match="larger than 2 bytes"):
        read_json(file, 2)


def test_a_file_without_a_size_of_its_own_is_limited_too() -> None:
    file = Path("/proc/self/status")
    if not file.is_file():
        pytest.skip("no /proc")
    with pytest.raises(UnreadableFile, match="larger than 10 bytes"):
        read_bytes(file, 10)


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":['])
def test_deep_nesting_is_refused(tmp_path: Path, opening: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(opening * 100_000, encoding="utf-8")
    with pytest.raises(UnreadableFile, match=r"nested deeper|invalid JSON"):
        read_json(file)


def test_the_depth_that_is_allowed_is_exact() -> None:
    deep = b"[" * 100 + b"]" * 100
    assert parse_json(deep, "a")
    with pytest.raises(UnreadableFile, match="nested deeper than 100"):
        parse_json(b"[" + deep + b"]", "a")
    assert parse_json(b"[" + b"[]," * 500 + b"0]", "a")
    assert parse_json(b"1", "a", depth=0) == 1
    with pytest.raises(UnreadableFile, match="nested deeper"):
        parse_json(b"[]", "a", depth=0)


@pytest.mark.parametrize("content", [b"\xff", b'"\xed\xa0\x80"', b"{", b"", b"[1, 2", b"9" * 5000])
def test_invalid_json_is_refused(content: bytes) -> None:
    with pytest.raises(UnreadableFile, match=r"not UTF-8|invalid JSON"):
        parse_json(content, "a")


def test_a_lone_surrogate_is_refused_or_replaced() -> None:
    content = rb'{"\ud800": ["x\uDFFF", "\ud83d\ude00"]}'
    with pytest.raises(UnreadableFile, match="surrogate"):
        parse_json(content, "a")
    assert parse_json(content, "a", replace_surrogates=True) == {"\ufffd": ["x\ufffd", "😀"]}
    assert parse_json(rb'"\ud83d\ude00"', "a") == "😀"


def test_a_value_under_a_path_of_keys() -> None:
    data = {"a": {"b": [1], "c": None}}
    assert get_in(data, "a", "b") == [1] and get_in(data) is data
    assert [get_in(data, *key) for key in (("a", "c", "d"), ("a", "b", 0), ("x",))] == [None, None, None]
