"""Units on disk: whole or not there, found by all they depend on."""

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.store import Store, Unit, unit_key
from fin_plugins.evaluation.units import Settings

MADE_WITH = {"arguments": {"dtype": "float32"}, "base": {"model.safetensors": "1"}, "engine": "fin_vllm"}
UNIT = Unit("base", "fin_fomc", "loglikelihood", [[-1.5, True], [-2.25, None]], 1, 0, {"max_length": 64})


def key(**changes: Any) -> str:
    parts: dict[str, Any] = {
        "identity": "m",
        "task": "t",
        "kind": "loglikelihood",
        "requests": [("a", " b"), ("a", " c")],
        "settings": {},
        **changes,
    }
    return unit_key(**parts)


@pytest.mark.parametrize(
    "changes",
    [
        {"identity": "n"},
        {"task": "u"},
        {"kind": "generate_until"},
        {"requests": [("a", " c"), ("a", " b")]},
        {"requests": [("a", " b")]},
        {"requests": [("a ", "b"), ("a", " c")]},
        {"settings": {"prune": True}},
    ],
)
def test_a_key_depends_on_all_of_it(changes: dict[str, Any]) -> None:
    assert key(**changes) != key()
    assert key() == key()


def test_pruning_is_for_labels_and_seeds_for_generation() -> None:
    pruned, other = Settings(prune=True, seeds=(0, 1)), Settings(prune=False, seeds=(5, 6))
    assert pruned.of("loglikelihood") != other.of("loglikelihood")
    assert Settings(prune=True, seeds=(7,)).of("loglikelihood") == pruned.of("loglikelihood")
    assert pruned.of("generate_until") != other.of("generate_until")
    assert Settings(prune=False, seeds=(0, 1)).of("generate_until") == pruned.of("generate_until")
    assert pruned.of("loglikelihood_rolling") == other.of("loglikelihood_rolling")


@pytest.mark.parametrize("folder", [True, False])
def test_what_is_written_is_read(folder: bool, tmp_path: Path) -> None:
    store = Store(tmp_path / "s" if folder else None)
    assert store.read("k", 2) is None
    assert store.write("k", UNIT, MADE_WITH) == UNIT == store.read("k", 2)
    assert store.read("l", 2) is None
    if folder:
        assert Store(tmp_path / "s").read("k", 2) == UNIT


def test_odd_numbers_and_texts_come_back_as_they_were(tmp_path: Path) -> None:
    import numpy as np

    answers = [[float("-inf"), False], [np.float32(0.1), np.bool_(True)], "\ud800 é 😀\u2028"]
    unit = Unit("m", "t", "k", answers, 3)
    back = Store(tmp_path).write("k", unit, MADE_WITH)
    assert back.answers == [[float("-inf"), False], [float(np.float32(0.1)), True], answers[2]]
    assert Store(tmp_path).read("k", 3) == back


@pytest.mark.parametrize("damage", ["cut", "bit", "other key", "not json", "binary"])
def test_damage_is_said_and_reads_as_missing(damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path)
    store.write("k", UNIT, MADE_WITH)
    file = tmp_path / "units" / "k.json"
    text = file.read_text()
    if damage == "binary":
        file.write_bytes(b"\xff\xfe")
    else:
        file.write_text(
            {
                "cut": text[:-10],
                "bit": text.replace("-2.25", "-2.24"),
                "other key": text.replace('"k"', '"l"'),
                "not json": "[]",
            }[damage]
        )
    assert store.read("k", 2) is None
    assert f"{file} is damaged" in capsys.readouterr().err
    store.write("k", UNIT, MADE_WITH)
    assert store.read("k", 2) == UNIT


def test_another_number_of_answers_is_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Store(tmp_path).write("k", UNIT, MADE_WITH)
    assert Store(tmp_path).read("k", 3) is None
    assert "another number of answers" in capsys.readouterr().err


def test_what_has_changed_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    asked = ("base", "fin_fomc", "loglikelihood")
    assert store.why_missing(*asked, MADE_WITH) == []
    store.write("k", UNIT, MADE_WITH)
    assert store.why_missing(*asked, MADE_WITH) == ["requests, --prune or --seed"]
    other = {**MADE_WITH, "arguments": {"dtype": "bfloat16"}, "base": {"model.safetensors": "2"}}
    assert store.why_missing(*asked, other) == ["dtype", "base model.safetensors"]
    assert store.why_missing("base", "fin_fpb", "loglikelihood", MADE_WITH) == []


def _write_often(folder: Path) -> None:
    for _ in range(20):
        Store(folder).write("k", UNIT, MADE_WITH)


def test_many_writers_and_a_reader(tmp_path: Path) -> None:
    Store(tmp_path).write("k", UNIT, MADE_WITH)
    writers = [multiprocessing.get_context("fork").Process(target=_write_often, args=(tmp_path,)) for _ in range(3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert Store(tmp_path).read("k", 2) == UNIT
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert not [file for file in tmp_path.rglob("*") if file.name.endswith(".part")]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FinError, match=r"file/s/units: cannot be written .*another --output_path"):
        Store(tmp_path / "file" / "s").check_writable()
    Store(tmp_path / "new").check_writable()
    assert not list((tmp_path / "new").rglob("*.json"))


def test_a_unit_is_plain_json(tmp_path: Path) -> None:
    Store(tmp_path).write("k", UNIT, MADE_WITH)
    record = json.loads((tmp_path / "units" / "k.json").read_text())
    assert record["unit"]["answers"] == [[-1.5, True], [-2.25, None]]
    assert record["unit"]["task"] == "fin_fomc"
