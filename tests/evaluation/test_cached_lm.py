"""Cached answers: used if everything they depend on is equal, and replies generated together with labels."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fin_plugins.scoring.fin_hf import FinHF
from tests.evaluation.eval_workspace import GENERATION, TASKS, EngineLog, EvalWorkspace, make_workspace
from tests.evaluation.factories import change_settings

pytestmark = pytest.mark.usefixtures("quick")


def test_a_moved_or_touched_workspace_uses_the_cache(workspace: EvalWorkspace) -> None:
    for file in workspace.root.rglob("*"):
        os.utime(file, (1e9, 1e9))
    assert workspace.run(*workspace.flags()) == EngineLog()
    assert workspace.results("one")["config"]["model_args"]["peft"] == str(workspace.adapter("one"))


def test_order_of_model_arguments_does_not_matter(workspace: EvalWorkspace) -> None:
    reordered = {"dtype": "float32", "pretrained": str(workspace.base)}
    words = ["--model_args", json.dumps(reordered), *workspace.flags()]
    assert workspace.run(*words) == EngineLog()


def _flip(file: Path, at: int = -3) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


def _edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


BASE = [f"base {task}" for task in TASKS]
ADAPTER = [f"one {task}" for task in TASKS]
LABELS, REPLY = BASE[:2], BASE[2:]
CHANGES: dict[str, tuple[Callable[[EvalWorkspace], object], list[str]]] = {
    "weights": (lambda w: _flip(w.base / "model.safetensors"), BASE + ADAPTER),
    "config": (lambda w: change_settings(w.base, rms_norm_eps=1e-5), BASE),
    "tokenizer": (lambda w: _edit(w.base / "tokenizer_config.json", "{", '{"clean_up": true,'), BASE),
    "chat template": (lambda w: _edit(w.base / "chat_template.jinja", "assistant", "helper"), BASE),
    "remote code": (lambda w: (w.base / "modeling.py").write_text("x = 1"), BASE),
    "adapter weights": (lambda w: _flip(w.adapter("one") / "adapter_model.safetensors"), ADAPTER),
    "adapter settings": (lambda w: change_settings(w.adapter("one"), lora_alpha=3), ADAPTER),
    "a row": (lambda w: w.change_row(text="Rates fell again."), BASE),
    "a label": (lambda w: w.change_row(choices=["up", "down", "none"]), LABELS),
    "the prompt": (lambda w: _edit(w.root / "tasks" / "first.yaml", "Up or", "Down or"), ["base first"]),
    "generation settings of the task": (lambda w: _edit(w.root / "tasks" / "reply.yaml", "toks: 3", "toks: 4"), REPLY),
}  # fmt: skip


def _adapter_flags(workspace: EvalWorkspace, units: list[str]) -> list[str]:
    return [*workspace.flags("one"), "--any-base"] if any(unit.startswith("one") for unit in units) else []


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_is_scored_again(change: str, workspace: EvalWorkspace) -> None:
    apply_change, expected = CHANGES[change]
    apply_change(workspace)
    flags = _adapter_flags(workspace, expected)
    assert workspace.run(*flags).units == expected
    if change in ("weights", "a row"):
        assert workspace.run(*flags) == EngineLog()  # cached from then on


SETTINGS: dict[str, tuple[list[str], dict[str, object], list[str]]] = {
    "few shots": (["--num_fewshot", "1"], {}, BASE),
    "system instruction": (["--system_instruction", "Be brief."], {}, BASE),
    "dtype": ([], {"dtype": "bfloat16"}, BASE + ADAPTER),
    "another model argument": ([], {"max_length": 4096}, BASE),
    "batch size": (["--batch_size", "2"], {}, BASE),
    "generation settings": (["--gen_kwargs", "max_gen_toks=2"], {}, REPLY),
    "limit": (["--limit", "2"], {}, BASE),
    "samples": (["--samples", '{"first": [0, 2]}'], {}, ["base first"]),
    "seeds, which affect generation": (["--seed", "1"], {}, REPLY),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_changed_setting_is_scored_again(setting: str, workspace: EvalWorkspace) -> None:
    words, arguments, expected = SETTINGS[setting]
    assert workspace.run(*_adapter_flags(workspace, expected), *words, **arguments).units == expected


def test_another_library_version_is_scored_again(
    workspace: EvalWorkspace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from importlib.metadata import version

    from fin_plugins.evaluation import cache_key

    monkeypatch.setattr(cache_key, "version", lambda name: "9.9" if name == "torch" else version(name))
    assert workspace.run(tasks="first").units == ["base first"]
    assert "changed since: torch)" in capfd.readouterr().err


def test_changed_scoring_code_is_scored_again(workspace: EvalWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from fin_plugins.evaluation import cache_key

    monkeypatch.setattr(cache_key, "scoring_code_hash", lambda: "another")
    assert workspace.run(tasks="first").units == ["base first"]


def test_another_device_is_scored_again(workspace: EvalWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from fin_plugins.evaluation import eval_run

    monkeypatch.setattr(eval_run, "engine_device", lambda *_: {"type": "cuda", "name": "NVIDIA H100"})
    assert workspace.run(tasks="first").units == ["base first"]


def test_gold_labels_change_metrics_but_not_answers(workspace: EvalWorkspace) -> None:
    before = workspace.results("base")["results"]["first"]["acc,none"]
    workspace.write_rows([{**row, "gold": (row["gold"] + 1) % 3} for row in workspace.rows()])
    assert workspace.run() == EngineLog()
    assert workspace.results("base")["results"]["first"]["acc,none"] != before


@pytest.fixture
def twin_workspace(tiny_models: dict[str, Path], tmp_path: Path) -> EvalWorkspace:
    """A workspace in which `twin` is the generative variant of `first`."""
    workspace = make_workspace(tmp_path / "workspace", tiny_models["llama3"])
    (workspace.root / "tasks" / "twin.yaml").write_text(GENERATION.format(name="twin", instruction="Up or down?"))
    return workspace


@pytest.fixture
def replies_ready(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For every generative task, whether its replies had been generated before it was requested."""
    ready: list[bool] = []
    generate_until = FinHF.generate_until

    def record(self: FinHF, requests: Any, disable_tqdm: bool = False) -> list[str]:
        ready.append(self.has_replies(requests))
        return generate_until(self, requests, disable_tqdm)

    monkeypatch.setattr(FinHF, "generate_until", record)
    return ready


def samples(workspace: EvalWorkspace, model: str, task: str) -> list[str]:
    (file,) = workspace.output.glob(f"*__{model}/samples_{task}_*.jsonl")
    return [json.loads(line)["resps"] for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("tasks", ["first,second,twin,reply", "twin,reply,second,first"])
def test_one_pass_answers_labels_and_replies(
    tasks: str, twin_workspace: EvalWorkspace, replies_ready: list[bool]
) -> None:
    log = twin_workspace.run(*twin_workspace.flags("one"), tasks=tasks)
    models = ("base", "one")
    assert sorted(log.units) == sorted(f"{model} {task}" for model in models for task in tasks.split(","))
    for model in models:
        assert log.units.index(f"{model} twin") == log.units.index(f"{model} first") + 1
        assert log.units[-1] == "one reply"  # its prompts differ from the labels'
    assert replies_ready == [True, False] * 2
    alone = EvalWorkspace(twin_workspace.root)
    together = {
        (model, task): samples(twin_workspace, model, task) for model in models for task in ("twin", "reply", "first")
    }
    assert together["base", "twin"] != together["one", "twin"]
    for file in list(twin_workspace.output.rglob("*.json*")):
        file.unlink()
    for task in ("twin", "reply", "first"):
        alone.run(*twin_workspace.flags("one"), tasks=task)
    assert replies_ready == [True, False] * 2 + [False] * 4
    assert together == {key: samples(alone, *key) for key in together}


def test_replies_are_cached_as_soon_as_they_are_complete(
    twin_workspace: EvalWorkspace, replies_ready: list[bool]
) -> None:
    first = EngineLog(fail_at=2)
    with pytest.raises(KeyboardInterrupt):
        twin_workspace.run(tasks="first,second,twin", log=first)
    assert first.units == ["base first", "base twin"]
    assert twin_workspace.run(tasks="first,second,twin").units == ["base second"]
    assert replies_ready == [True]
    assert twin_workspace.run(tasks="first,second,twin") == EngineLog()


def test_cached_replies_are_not_generated_again(
    twin_workspace: EvalWorkspace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    twin_workspace.run(tasks="twin")
    expected: list[int] = []
    monkeypatch.setattr(FinHF, "expect_replies", lambda _, requests: expected.append(len(requests)))
    assert twin_workspace.run(tasks="twin,first").units == ["base first"]
    assert expected == [0]
    printed = capfd.readouterr().err
    assert printed.count("base · twin: from the cache") == 1
    assert "[1/2] base · first: 4 documents" in printed
    assert "[2/2] base · twin: from the cache" in printed
