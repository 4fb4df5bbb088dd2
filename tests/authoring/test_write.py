"""Both files or none."""

from pathlib import Path

import pytest

from fin_plugins.authoring.write import write_files
from fin_plugins.common.errors import FinError


def test_folders_are_made(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "c.yaml"
    write_files({file: "ä: 1\n"})
    assert file.read_bytes() == "ä: 1\n".encode()


def test_nothing_is_left_where_one_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FinError, match=r"file/two\.yaml: cannot be written"):
        write_files({tmp_path / "one.yaml": "1", tmp_path / "file" / "two.yaml": "2"})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
