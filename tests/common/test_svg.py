"""Tests of figures as SVG."""

from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from fin_plugins.common.errors import FinError
from fin_plugins.common.svg import write_svg


def _figure() -> Figure:
    figure = Figure()
    figure.subplots().plot([1, 2], [3, 4])
    figure.suptitle("loss")
    return figure


def test_text_stays_text_and_bytes_do_not_depend_on_the_users_style(tmp_path: Path) -> None:
    write_svg(_figure, tmp_path / "first.svg", "train")
    with mpl.rc_context({"font.size": 30}):
        write_svg(_figure, tmp_path / "second.svg", "train")
    content = (tmp_path / "first.svg").read_text()
    assert "loss" in "".join(ElementTree.fromstring(content).itertext())
    assert content == (tmp_path / "second.svg").read_text()


def test_an_unwritable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.svg").mkdir()
    with pytest.raises(FinError, match="folder"):
        write_svg(_figure, tmp_path / "folder.svg", "train")
