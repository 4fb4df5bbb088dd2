"""`train.json`: written atomically, in strict JSON."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.training.train_record import FILE, LossPoint, ValidationPoint, write_record
from tests.training.record_factories import config, record


def strict(file: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    found = json.loads(file.read_text(encoding="utf-8"), parse_constant=refuse)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("changes", [{}, {"replay": None, "best_step": None, "commit": None, "validation_curve": []}])
def test_the_file_holds_the_record(changes: dict[str, Any], tmp_path: Path) -> None:
    invented = record(**changes)
    file = write_record(invented, tmp_path / "new" / "folder")
    assert file == tmp_path / "new" / "folder" / FILE
    expected = {"schema": 1, **dataclasses.asdict(invented), "tokens_per_second": 500.0}
    assert strict(file) == expected and list(strict(file)) == list(expected)


def test_what_is_not_finite_becomes_null(tmp_path: Path) -> None:
    bad = [math.nan, math.inf, -math.inf, np.float32("nan")]
    curve = [LossPoint(step=n, epoch=0.1, loss=loss, grad_norm=0.5) for n, loss in enumerate(bad)]
    checks = [ValidationPoint(step=1, epoch=0.1, mean=math.nan, tasks={"t": {"macro_f1": math.nan, "acc": 0.5}})]
    written = strict(write_record(record(loss_curve=curve, validation_curve=checks), tmp_path))
    assert [point["loss"] for point in written["loss_curve"]] == [None] * 4
    assert written["loss_curve"][0]["grad_norm"] == 0.5
    (check,) = written["validation_curve"]
    assert (check["mean"], check["tasks"]) == (None, {"t": {"macro_f1": None, "acc": 0.5}})


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    point = LossPoint(step=np.int64(3), epoch=np.float64(0.5), loss=np.float32(0.25))
    (written,) = strict(write_record(record(loss_curve=[point]), tmp_path))["loss_curve"]
    assert (written["step"], written["epoch"], written["loss"]) == (3, 0.5, 0.25)


def test_a_command_line_that_is_not_unicode_is_written(tmp_path: Path) -> None:
    file = write_record(record(command_line=["fin", "train", "größe-\udcff.yaml"]), tmp_path)
    assert strict(file)["command_line"][-1] == "größe-\\udcff.yaml"


def test_paths_stay_as_typed(tmp_path: Path) -> None:
    typed = config(model="~/models/base", output="../out", replay={"source": "~/replay.jsonl"})
    read = strict(write_record(record(config=typed), tmp_path))["config"]
    assert (read["model"], read["output"], read["replay"]["source"]) == ("~/models/base", "../out", "~/replay.jsonl")


def test_speed_counts_tokens_without_padding(tmp_path: Path) -> None:
    assert strict(write_record(record(tokens_seen=500, wall_seconds=4.0), tmp_path))["tokens_per_second"] == 125.0
    assert record(wall_seconds=0.0).tokens_per_second is None


def test_a_failed_write_leaves_the_old_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_record(record(name="old"), tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FinError, match=r"train\.json: cannot be written \(No space left on device\).*`output`"):
        write_record(record(name="new"), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [FILE]
    assert strict(tmp_path / FILE)["name"] == "old"


def test_a_record_is_not_changed_later() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        record().steps = 3  # type: ignore[misc]
