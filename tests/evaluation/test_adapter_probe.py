"""PEFT's reference answers: correct, cached by content, computed in a process without a GPU."""

import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation import adapter_probe
from fin_plugins.scoring.adapters import Adapter, read_adapter
from tests.evaluation.factories import adapter, change_settings, llama

TOKENS = list(range(3, 40))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return llama(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Adapter]:
    root = tmp_path_factory.mktemp("adapters")
    return [read_adapter(name, adapter(root / name, base, scale)) for name, scale in (("a", 0.5), ("b", 1.0))]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fin-plugins" / "references"


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Jobs run so far, by the code of the reference process but in this process, which saves ten seconds each."""
    finished: list[dict[str, Any]] = []

    def run_here(command: list[str], **settings: Any) -> Any:
        finished.append({**json.loads(settings["input"]), "env": settings["env"]})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stdin", io.StringIO(settings["input"]))
            patch.setattr("sys.argv", command[2:])
            adapter_probe.main()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(adapter_probe.subprocess, "run", run_here)
    return finished


def _by_hand(base: Path, adapter: Adapter | None) -> list[float]:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter.path).merge_and_unload()
    with torch.inference_mode():
        logits = model(torch.tensor([TOKENS])).logits[0]
    return [float(row.log_softmax(-1)[token]) for row, token in zip(logits, TOKENS[1:], strict=False)]


def test_references_and_their_cache(
    base: Path, adapters: list[Adapter], jobs: list[dict[str, Any]], cache: Path, tmp_path: Path
) -> None:
    """One process for all adapters, each on a clean base; then none until something changes."""
    references = adapter_probe.peft_references(base, adapters, TOKENS)
    for peft_adapter in adapters:
        reference = references[peft_adapter.name]
        assert reference.tokens == TOKENS
        assert reference.base == pytest.approx(_by_hand(base, None), abs=1e-5)
        assert reference.adapted == pytest.approx(_by_hand(base, peft_adapter), abs=1e-4)
    assert abs(references["a"].adapted[0] - references["b"].adapted[0]) > 1e-3
    assert len(jobs) == 1 and jobs[0]["env"]["CUDA_VISIBLE_DEVICES"] == ""

    moved = read_adapter("renamed", shutil.copytree(adapters[0].path, tmp_path / "moved"))
    assert adapter_probe.peft_references(base, [moved], TOKENS)["renamed"] == references["a"]
    assert len(jobs) == 1

    change_settings(moved.path, lora_alpha=64)
    assert (
        adapter_probe.peft_references(base, [moved, adapters[1]], TOKENS)["renamed"].adapted != references["a"].adapted
    )
    assert [list(job["adapters"]) for job in jobs] == [["a", "b"], ["renamed"]]

    for file in cache.glob("*.json"):
        file.write_text("{", encoding="utf-8")
    assert adapter_probe.peft_references(base, adapters[:1], TOKENS)["a"] == references["a"]
    assert len(jobs) == 3


@pytest.mark.parametrize("key_input", ["base weights", "base settings", "adapter weights", "tokens", "version"])
def test_the_key_depends_on_each_input(
    base: Path, adapters: list[Adapter], tmp_path: Path, key_input: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(base, tmp_path / "base")
    changed = read_adapter("a", shutil.copytree(adapters[0].path, tmp_path / "a"))
    before = adapter_probe.reference_file(copy, changed, TOKENS)
    assert adapter_probe.reference_file(base, adapters[0], TOKENS) == before  # the content counts, not the place
    tokens = TOKENS
    if key_input == "base weights":
        shutil.copy(llama(tmp_path / "other", seed=1) / "model.safetensors", copy)
    elif key_input == "base settings":
        change_settings(copy, rms_norm_eps=0.1)
    elif key_input == "adapter weights":
        shutil.copy(adapters[1].path / "adapter_model.safetensors", changed.path)
    elif key_input == "tokens":
        tokens = TOKENS[:-1]
    else:
        monkeypatch.setattr(adapter_probe, "version", lambda name: f"{name} 0")
    assert adapter_probe.reference_file(copy, changed, tokens) != before


def test_an_unreadable_base(base: Path, adapters: list[Adapter], tmp_path: Path) -> None:
    """In a real process, like the references in `test_adapter_checks`."""
    copy = shutil.copytree(base, tmp_path / "base")
    (copy / "model.safetensors").unlink()
    with pytest.raises(FinError, match=r"--verify-adapters: .*base with a on the CPU \(OSError: .*leave --verify-ad"):
        adapter_probe.peft_references(copy, adapters[:1], TOKENS)


def test_an_incomplete_adapter_has_no_reference(
    base: Path, adapters: list[Adapter], jobs: list[dict[str, Any]], tmp_path: Path
) -> None:
    """PEFT only warns if the weights of a configured module are missing, and continues without them."""
    incomplete = shutil.copytree(adapters[0].path, tmp_path / "a")
    change_settings(incomplete, target_modules=["q_proj", "v_proj", "down_proj", "up_proj"])
    with pytest.raises(UserWarning, match="missing adapter keys"):
        adapter_probe.peft_references(base, [read_adapter("a", incomplete)], TOKENS)


def test_a_killed_process(base: Path, adapters: list[Adapter], monkeypatch: pytest.MonkeyPatch) -> None:
    killed = subprocess.CompletedProcess([], -9, "", "")
    monkeypatch.setattr(adapter_probe.subprocess, "run", lambda *_, **__: killed)
    with pytest.raises(FinError, match=r"signal 9, .*0\.0 GB"):
        adapter_probe.peft_references(base, adapters, TOKENS)
