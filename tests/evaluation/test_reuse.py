"""Stored answers: used wherever all they depend on is the same, and never where something is not."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.evaluation.making import change_settings
from tests.evaluation.running import TASKS, Asked, World

pytestmark = pytest.mark.usefixtures("quick")


def test_a_moved_or_touched_world_is_the_same_world(world: World) -> None:
    for file in world.root.rglob("*"):
        os.utime(file, (1e9, 1e9))
    assert world.run(*world.flags()) == Asked()
    assert world.results("one")["config"]["model_args"]["peft"] == str(world.adapter("one"))  # its new place


def test_order_of_model_arguments_does_not_matter(world: World) -> None:
    reordered = {"dtype": "float32", "pretrained": str(world.base)}
    words = ["--model_args", json.dumps(reordered), *world.flags()]
    assert world.run(*words) == Asked()


def _flip(file: Path, at: int = -3) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


def _edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


ALL = [f"base {task}" for task in TASKS] + [f"one {task}" for task in TASKS]
ONE = [f"one {task}" for task in TASKS]
LABELS = ["base first", "base second", "one first", "one second"]
REPLY = ["base reply", "one reply"]
CHANGES: dict[str, tuple[Callable[[World], object], list[str]]] = {
    "weights": (lambda w: _flip(w.base / "model.safetensors"), ALL),
    "config": (lambda w: change_settings(w.base, rms_norm_eps=1e-5), ALL),
    "tokenizer": (lambda w: _edit(w.base / "tokenizer_config.json", "{", '{"clean_up": true,'), ALL),
    "chat template": (lambda w: _edit(w.base / "chat_template.jinja", "assistant", "helper"), ALL),
    "remote code": (lambda w: (w.base / "modeling.py").write_text("x = 1"), ALL),
    "adapter weights": (lambda w: _flip(w.adapter("one") / "adapter_model.safetensors"), ONE),
    "adapter settings": (lambda w: change_settings(w.adapter("one"), lora_alpha=3), ONE),
    "a row": (lambda w: w.change_row(text="Rates fell again."), ALL),
    "a label": (lambda w: w.change_row(choices=["up", "down", "none"]), LABELS),
    "the prompt": (lambda w: _edit(w.root / "tasks" / "first.yaml", "Up or", "Down or"), ["base first", "one first"]),
    "generation settings of the task": (lambda w: _edit(w.root / "tasks" / "reply.yaml", "toks: 3", "toks: 4"), REPLY),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_file_is_asked_again(what: str, world: World) -> None:
    change, expected = CHANGES[what]
    change(world)
    assert world.run(*world.flags("one"), "--any-base").units == expected
    assert world.run(*world.flags("one"), "--any-base") == Asked()  # and is known from then on


FLAGS: dict[str, tuple[list[str], dict[str, object], list[str]]] = {
    "few shots": (["--num_fewshot", "1"], {}, ALL),
    "system instruction": (["--system_instruction", "Be brief."], {}, ALL),
    "dtype": ([], {"dtype": "bfloat16"}, ALL),
    "another model argument": ([], {"max_length": 4096}, ALL),
    "batch size": (["--batch_size", "2"], {}, ALL),
    "generation settings": (["--gen_kwargs", "max_gen_toks=2"], {}, REPLY),
    "limit": (["--limit", "2"], {}, ALL),
    "samples": (["--samples", '{"first": [0, 2]}'], {}, ["base first", "one first"]),
    "seeds, which generation may draw from": (["--seed", "1"], {}, REPLY),
}


@pytest.mark.parametrize("what", FLAGS)
def test_a_changed_setting_is_asked_again(what: str, world: World) -> None:
    words, engine, expected = FLAGS[what]
    assert world.run(*world.flags("one"), *words, **engine).units == expected


@pytest.mark.parametrize("library", ["transformers", "torch", "peft", "lm_eval"])
def test_another_version_of_a_library_is_asked_again(
    library: str, world: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from importlib.metadata import version

    from fin_plugins.evaluation import identity

    monkeypatch.setattr(identity, "version", lambda name: "9.9" if name == library else version(name))
    assert world.run(tasks="first").units == ["base first"]
    assert f"stored answers not used, changed since: {library})" in capfd.readouterr().err


def test_other_code_of_ours_is_asked_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from fin_plugins.evaluation import identity

    monkeypatch.setattr(identity, "_our_code", lambda: "another")
    assert world.run(tasks="first").units == ["base first"]


def test_another_device_is_asked_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from fin_plugins.evaluation import identity

    monkeypatch.setattr(identity, "device_of", lambda *_: {"type": "cuda", "name": "NVIDIA H100"})
    assert world.run(tasks="first").units == ["base first"]


def test_gold_labels_change_the_metrics_and_not_the_answers(world: World) -> None:
    before = world.results("base")["results"]["first"]["acc,none"]
    world.write_rows([{**row, "gold": (row["gold"] + 1) % 3} for row in world.rows()])
    assert world.run() == Asked()
    assert world.results("base")["results"]["first"]["acc,none"] != before
