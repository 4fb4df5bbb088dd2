"""`train.json`: written whole, in strict JSON, and read back the same."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.training.report.record import FILE, Check, Point, read_record, write_record
from tests.training.report.records import config, record


def strict(file: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    found = json.loads(file.read_text(encoding="utf-8"), parse_constant=refuse)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("changes", [{}, {"replay": None, "best_step": None, "commit": None, "validation_curve": []}])
def test_what_is_written_is_read(changes: dict[str, Any], tmp_path: Path) -> None:
    made = record(**changes)
    assert write_record(made, tmp_path / "new" / "folder") == tmp_path / "new" / "folder" / FILE
    assert read_record(tmp_path / "new" / "folder") == made


def test_what_is_not_finite_becomes_null(tmp_path: Path) -> None:
    bad = [math.nan, math.inf, -math.inf, np.float32("nan")]
    curve = [Point(step=n, epoch=0.1, loss=loss, grad_norm=0.5) for n, loss in enumerate(bad)]
    checks = [Check(step=1, epoch=0.1, mean=math.nan, tasks={"t": {"macro_f1": math.nan, "acc": 0.5}})]
    written = strict(write_record(record(loss_curve=curve, validation_curve=checks), tmp_path))
    assert [point["loss"] for point in written["loss_curve"]] == [None] * 4
    read = read_record(tmp_path)
    assert [point.loss for point in read.loss_curve] == [None] * 4
    assert read.loss_curve[0].grad_norm == 0.5
    assert read.validation_curve[0].mean is None
    assert read.validation_curve[0].tasks == {"t": {"macro_f1": None, "acc": 0.5}}


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    point = Point(step=np.int64(3), epoch=np.float64(0.5), loss=np.float32(0.25))
    assert strict(write_record(record(loss_curve=[point]), tmp_path))["loss_curve"][0]["step"] == 3
    assert read_record(tmp_path).loss_curve == [Point(step=3, epoch=0.5, loss=0.25)]


def test_texts_that_are_no_unicode_do_not_stop_the_writing(tmp_path: Path) -> None:
    write_record(record(command_line=["fin", "train", "größe-\udcff.yaml"]), tmp_path)
    assert read_record(tmp_path).command_line[-1] == "größe-\\udcff.yaml"


def test_names_of_files_stay_as_typed(tmp_path: Path) -> None:
    typed = config(model="~/models/base", output="../out", replay={"source": "~/replay.jsonl"})
    write_record(record(config=typed), tmp_path)
    read = read_record(tmp_path).config
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
    assert read_record(tmp_path).name == "old"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        ("{", "Expecting"),
        ("[]", "schema"),
        ('{"schema": 99}', "schema is not 1"),
        ('{"schema": 1}', "name: Field required"),
    ],
)
def test_what_is_no_record_is_an_error_that_names_the_file(content: str | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / FILE).write_text(content, encoding="utf-8")
    with pytest.raises(FinError, match=said) as raised:
        read_record(tmp_path)
    assert str(tmp_path / FILE) in str(raised.value)


def test_a_wrong_value_is_named_by_its_place(tmp_path: Path) -> None:
    file = write_record(record(), tmp_path)
    content = strict(file)
    content["tasks"][1]["used"] = "many"
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(FinError, match=r"tasks\.1\.used"):
        read_record(tmp_path)


def test_a_record_is_not_changed_later() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        record().steps = 3  # type: ignore[misc]
