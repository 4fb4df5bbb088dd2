"""The plot of a run: one SVG, the same each time, with whatever went into the record."""

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import matplotlib
import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.training.report.plot import FILE, draw, plot, smooth
from fin_plugins.training.report.record import Check, Point, Record
from tests.training.report.records import config, record

TEXT = "{http://www.w3.org/2000/svg}text"


def texts(made: Record, folder: Path) -> str:
    plot(made, folder / FILE)
    root = ElementTree.parse(folder / FILE).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return "\n".join("".join(found.itertext()) for found in root.iter(TEXT))


def test_it_shows_loss_validation_and_the_best(tmp_path: Path) -> None:
    shown = texts(record(), tmp_path)
    assert "training loss (nats)" in shown
    assert "validation macro F1" in shown
    assert "best: 0.710 at step 300" in shown
    assert (tmp_path / FILE).stat().st_size < 100_000


def test_without_validation_there_is_one_panel(tmp_path: Path) -> None:
    made = record(validation_curve=[], best_step=None, config=config(validation="off"))
    assert "validation" not in texts(made, tmp_path)
    assert (len(draw(made).axes), len(draw(record()).axes)) == (1, 2)


def test_the_same_record_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plot(record(), tmp_path / "a.svg")
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 33)  # a user's own style
    plot(record(), tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert matplotlib.rcParams["font.size"] == 33


@pytest.mark.parametrize("name", ["a $x$ b", "$\\frac{", "<script>alert('&')</script>", "two\nlines\x00"])
def test_a_name_is_text(name: str, tmp_path: Path) -> None:
    shown = texts(record(name=name), tmp_path)
    assert " ".join(name.replace("\x00", "").split()) in shown


def test_a_long_name_is_shortened(tmp_path: Path) -> None:
    assert "x" * 79 + "…" in texts(record(name="x" * 500), tmp_path)


@pytest.mark.parametrize(
    "curve", [[], [Point(step=n, epoch=0.1, loss=loss) for n, loss in enumerate((None, math.inf))]]
)
def test_nothing_to_draw_is_no_error(curve: list[Point], tmp_path: Path) -> None:
    checks = [Check(step=1, epoch=0.1, mean=None, tasks={})]
    assert "step" in texts(record(loss_curve=curve, validation_curve=checks, best_step=1), tmp_path)


def test_smoothing_keeps_a_flat_curve_and_steps_over_gaps() -> None:
    assert smooth([2.0] * 50) == pytest.approx([2.0] * 50)
    assert smooth([]) == []
    gap = smooth([1.0, math.nan, 1.0, math.inf])
    assert (gap[0], gap[2]) == (1.0, 1.0)
    assert math.isnan(gap[1])
    assert math.isnan(gap[3])


def test_smoothing_calms_waves_and_does_not_lag() -> None:
    waves = smooth([0.0, 2.0] * 100)
    assert all(0.7 < value < 1.3 for value in waves)
    slope = smooth([float(n) for n in range(300)])
    assert slope[100:200] == pytest.approx(range(100, 200), abs=0.01)


def test_without_matplotlib_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(FinError, match="pip install"):
        plot(record(), tmp_path / FILE)
    assert not (tmp_path / FILE).exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FinError, match="cannot be written"):
        plot(record(), tmp_path / "file" / FILE)
