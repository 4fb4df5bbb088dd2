"""Cache entries on disk: complete or absent, found by everything they depend on."""

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.answer_cache import AnswerCache, CacheEntry
from fin_plugins.evaluation.cache_key import AnswerSettings, entry_key

KEY_INPUTS = {"arguments": {"dtype": "float32"}, "base": {"model.safetensors": "1"}, "engine": "fin_vllm"}
ENTRY = CacheEntry("base", "fin_fomc", "loglikelihood", [[-1.5, True], [-2.25, None]], 1, 0, {"max_length": 64})


def key(**changes: Any) -> str:
    parts: dict[str, Any] = {
        "model_hash": "m",
        "task": "t",
        "kind": "loglikelihood",
        "requests": [("a", " b"), ("a", " c")],
        "settings": {},
        **changes,
    }
    return entry_key(**parts)


@pytest.mark.parametrize(
    "changes",
    [
        {"model_hash": "n"},
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
    pruned, other = AnswerSettings(prune=True, seeds=(0, 1)), AnswerSettings(prune=False, seeds=(5, 6))
    assert pruned.for_request_type("loglikelihood") != other.for_request_type("loglikelihood")
    assert AnswerSettings(prune=True, seeds=(7,)).for_request_type("loglikelihood") == pruned.for_request_type(
        "loglikelihood"
    )
    assert pruned.for_request_type("generate_until") != other.for_request_type("generate_until")
    assert AnswerSettings(prune=False, seeds=(0, 1)).for_request_type("generate_until") == pruned.for_request_type(
        "generate_until"
    )
    assert pruned.for_request_type("loglikelihood_rolling") == other.for_request_type("loglikelihood_rolling")


@pytest.mark.parametrize("folder", [True, False])
def test_written_entries_are_read(folder: bool, tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "s" if folder else None)
    assert cache.read("k", 2) is None
    assert cache.write("k", ENTRY, KEY_INPUTS) == ENTRY == cache.read("k", 2)
    assert cache.read("l", 2) is None
    if folder:
        assert AnswerCache(tmp_path / "s").read("k", 2) == ENTRY


def test_special_numbers_and_texts_survive(tmp_path: Path) -> None:
    import numpy as np

    answers = [[float("-inf"), False], [np.float32(0.1), np.bool_(True)], "\ud800 é 😀\u2028"]
    entry = CacheEntry("m", "t", "k", answers, 3)
    back = AnswerCache(tmp_path).write("k", entry, KEY_INPUTS)
    assert back.answers == [[float("-inf"), False], [float(np.float32(0.1)), True], answers[2]]
    assert AnswerCache(tmp_path).read("k", 3) == back


@pytest.mark.parametrize("damage", ["cut", "bit", "other key", "not json", "binary"])
def test_damage_is_reported_and_reads_as_missing(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = AnswerCache(tmp_path)
    cache.write("k", ENTRY, KEY_INPUTS)
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
    assert cache.read("k", 2) is None
    assert f"{file} is damaged" in capsys.readouterr().err
    cache.write("k", ENTRY, KEY_INPUTS)
    assert cache.read("k", 2) == ENTRY


def test_a_wrong_number_of_answers_is_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    AnswerCache(tmp_path).write("k", ENTRY, KEY_INPUTS)
    assert AnswerCache(tmp_path).read("k", 3) is None
    assert "another number of answers" in capsys.readouterr().err


def test_changed_inputs_are_named(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path)
    arguments = ("base", "fin_fomc", "loglikelihood")
    assert cache.changes_since_latest(*arguments, KEY_INPUTS) == []
    cache.write("k", ENTRY, KEY_INPUTS)
    assert cache.changes_since_latest(*arguments, KEY_INPUTS) == ["requests, --prune or --seed"]
    other = {**KEY_INPUTS, "arguments": {"dtype": "bfloat16"}, "base": {"model.safetensors": "2"}}
    assert cache.changes_since_latest(*arguments, other) == ["dtype", "base model.safetensors"]
    assert cache.changes_since_latest("base", "fin_fpb", "loglikelihood", KEY_INPUTS) == []


def _write_often(folder: Path) -> None:
    for _ in range(20):
        AnswerCache(folder).write("k", ENTRY, KEY_INPUTS)


def test_many_writers_and_a_reader(tmp_path: Path) -> None:
    AnswerCache(tmp_path).write("k", ENTRY, KEY_INPUTS)
    writers = [multiprocessing.get_context("fork").Process(target=_write_often, args=(tmp_path,)) for _ in range(3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert AnswerCache(tmp_path).read("k", 2) == ENTRY
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert not [file for file in tmp_path.rglob("*") if file.name.endswith(".part")]


def test_an_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FinError, match=r"file/s/units: cannot be written .*another --output_path"):
        AnswerCache(tmp_path / "file" / "s").check_writable()
    AnswerCache(tmp_path / "new").check_writable()
    assert not list((tmp_path / "new").rglob("*.json"))


def test_an_entry_is_plain_json(tmp_path: Path) -> None:
    AnswerCache(tmp_path).write("k", ENTRY, KEY_INPUTS)
    record = json.loads((tmp_path / "units" / "k.json").read_text())
    assert record["unit"]["answers"] == [[-1.5, True], [-2.25, None]]
    assert record["unit"]["task"] == "fin_fomc"
