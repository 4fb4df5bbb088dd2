"""The plot of a run, for any record."""

import math
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import matplotlib
import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.training.train_record import LossPoint, TrainRecord, ValidationPoint
from fin_plugins.training.training_plot import FILE, draw_training, smooth, write_training_plot
from tests.training.record_factories import config, record

TEXT = "{http://www.w3.org/2000/svg}text"


def texts(invented: TrainRecord, folder: Path) -> str:
    write_training_plot(invented, folder / FILE)
    root = ElementTree.parse(folder / FILE).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return "\n".join("".join(text.itertext()) for text in root.iter(TEXT))


def test_it_shows_loss_validation_and_the_best(tmp_path: Path) -> None:
    labels = texts(record(), tmp_path)
    assert "training loss (nats)" in labels
    assert "validation macro F1" in labels
    assert "best: 0.710 at step 300" in labels
    assert (tmp_path / FILE).stat().st_size < 100_000


def test_without_validation_there_is_one_panel(tmp_path: Path) -> None:
    invented = record(validation_curve=[], best_step=None, config=config(validation="off"))
    assert "validation" not in texts(invented, tmp_path)
    assert (len(draw_training(invented).axes), len(draw_training(record()).axes)) == (1, 2)


@pytest.mark.parametrize("name", ["a $x$ b", "$\\frac{", "<script>alert('&')</script>", "two\nlines\x00"])
def test_a_name_is_text(name: str, tmp_path: Path) -> None:
    labels = texts(record(name=name), tmp_path)
    assert " ".join(name.replace("\x00", "").split()) in labels


def test_a_long_name_is_shortened(tmp_path: Path) -> None:
    assert "x" * 79 + "…" in texts(record(name="x" * 500), tmp_path)


@pytest.mark.parametrize(
    "curve", [[], [LossPoint(step=n, epoch=0.1, loss=loss) for n, loss in enumerate((None, math.inf))]]
)
def test_an_empty_plot_is_no_error(curve: list[LossPoint], tmp_path: Path) -> None:
    checks = [ValidationPoint(step=1, epoch=0.1, mean=None, tasks={})]
    assert "step" in texts(record(loss_curve=curve, validation_curve=checks, best_step=1), tmp_path)


def test_smoothing_keeps_a_flat_curve_and_skips_gaps() -> None:
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


def test_the_bytes_do_not_depend_on_the_users_style(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_training_plot(record(), tmp_path / "a.svg")
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 33)
    write_training_plot(record(), tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert matplotlib.rcParams["font.size"] == 33


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(FinError, match=r"pip install .*\[train\]"):
        write_training_plot(record(), tmp_path / FILE)
    assert not (tmp_path / FILE).exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FinError, match="cannot be written"):
        write_training_plot(record(), tmp_path / "file" / FILE)
