"""PEFT's answers: right, remembered by content, and computed in a process that cannot see a GPU."""

import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation import reference
from fin_plugins.scoring.adapters import Adapter, read_adapter
from tests.evaluation.making import adapter, change_settings, llama

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
    """Jobs done so far, by the process's own code but in this process: each start would cost ten seconds."""
    done: list[dict[str, Any]] = []

    def here(command: list[str], **settings: Any) -> Any:
        done.append({**json.loads(settings["input"]), "env": settings["env"]})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stdin", io.StringIO(settings["input"]))
            patch.setattr("sys.argv", command[2:])
            reference.main()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(reference.subprocess, "run", here)
    return done


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


def test_answers_and_what_is_remembered(
    base: Path, adapters: list[Adapter], jobs: list[dict[str, Any]], cache: Path, tmp_path: Path
) -> None:
    """One process for all adapters, each on a clean base; then none, until something changes."""
    found = reference.references(base, adapters, TOKENS)
    for one in adapters:
        assert found[one.name].tokens == TOKENS
        assert found[one.name].base == pytest.approx(_by_hand(base, None), abs=1e-5)
        assert found[one.name].adapted == pytest.approx(_by_hand(base, one), abs=1e-4)
    assert abs(found["a"].adapted[0] - found["b"].adapted[0]) > 1e-3
    assert len(jobs) == 1 and jobs[0]["env"]["CUDA_VISIBLE_DEVICES"] == ""

    moved = read_adapter("renamed", shutil.copytree(adapters[0].path, tmp_path / "moved"))
    assert reference.references(base, [moved], TOKENS)["renamed"] == found["a"]
    assert len(jobs) == 1

    change_settings(moved.path, lora_alpha=64)
    assert reference.references(base, [moved, adapters[1]], TOKENS)["renamed"].adapted != found["a"].adapted
    assert [list(job["adapters"]) for job in jobs] == [["a", "b"], ["renamed"]]

    for file in cache.glob("*.json"):
        file.write_text("{", encoding="utf-8")
    assert reference.references(base, adapters[:1], TOKENS)["a"] == found["a"]
    assert len(jobs) == 3


@pytest.mark.parametrize("ingredient", ["base weights", "base settings", "adapter weights", "tokens", "version"])
def test_each_ingredient_is_in_the_key(
    base: Path, adapters: list[Adapter], tmp_path: Path, ingredient: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(base, tmp_path / "base")
    one = read_adapter("a", shutil.copytree(adapters[0].path, tmp_path / "a"))
    before = reference._file(copy, one, TOKENS)
    assert reference._file(base, adapters[0], TOKENS) == before  # the content counts, not where it lies
    tokens = TOKENS
    if ingredient == "base weights":
        shutil.copy(llama(tmp_path / "other", seed=1) / "model.safetensors", copy)
    elif ingredient == "base settings":
        change_settings(copy, rms_norm_eps=0.1)
    elif ingredient == "adapter weights":
        shutil.copy(adapters[1].path / "adapter_model.safetensors", one.path)
    elif ingredient == "tokens":
        tokens = TOKENS[:-1]
    else:
        monkeypatch.setattr(reference, "version", lambda name: f"{name} 0")
    assert reference._file(copy, one, tokens) != before


def test_what_cannot_be_computed(base: Path, adapters: list[Adapter], tmp_path: Path) -> None:
    """In a real process, as the answers that `test_adapter_checks` compares with are."""
    copy = shutil.copytree(base, tmp_path / "base")
    (copy / "model.safetensors").unlink()
    with pytest.raises(FinError, match=r"--verify-adapters: .*base with a on the CPU \(OSError: .*leave --verify-ad"):
        reference.references(copy, adapters[:1], TOKENS)


def test_a_part_of_an_adapter_is_no_reference(
    base: Path, adapters: list[Adapter], jobs: list[dict[str, Any]], tmp_path: Path
) -> None:
    """PEFT only warns where settings name modules that the file has no weights for, and goes on with the rest."""
    one = shutil.copytree(adapters[0].path, tmp_path / "a")
    change_settings(one, target_modules=["q_proj", "v_proj", "down_proj", "up_proj"])
    with pytest.raises(UserWarning, match="missing adapter keys"):
        reference.references(base, [read_adapter("a", one)], TOKENS)


def test_a_killed_process(base: Path, adapters: list[Adapter], monkeypatch: pytest.MonkeyPatch) -> None:
    killed = subprocess.CompletedProcess([], -9, "", "")
    monkeypatch.setattr(reference.subprocess, "run", lambda *_, **__: killed)
    with pytest.raises(FinError, match=r"killed by signal 9, perhaps for want of memory: it needs 0\.0 GB"):
        reference.references(base, adapters, TOKENS)
