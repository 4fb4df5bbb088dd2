"""Entire searches on a tiny real model, as a command."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fin_plugins.merging.search.objectives import Objectives
from fin_plugins.merging.search.study import Candidate
from tests.merging.search.search_factories import PLANTED_WEIGHTS, ROWS, SearchWorld, answers, merge

pytestmark = pytest.mark.usefixtures("one_thread")

GRID = {"sampler": "grid", "candidates": None}


def validation_rows(world: SearchWorld, task: str) -> tuple[list[str], list[int]]:
    rows = json.loads((world.folder / "rows.json").read_text())[task]["validation"]
    return [row["text"] for row in rows], [row["gold"] for row in rows]


def accuracy(world: SearchWorld, adapter: Path | None, task: str) -> float:
    texts, gold = validation_rows(world, task)
    return sum(a == b for a, b in zip(answers(world.base, adapter, texts), gold, strict=True)) / ROWS


def test_the_planted_weights_are_found(world: SearchWorld) -> None:
    result = world.search("grid", "--json", **GRID, steps=5)
    assert result.exit_code == 0, result.output
    output = json.loads(result.stdout)
    assert output["candidates"] == 25
    assert output["best"]["weights"] == PLANTED_WEIGHTS and output["best"]["seen"]["value"] == 1.0
    assert sorted(candidate["seen"]["value"] for candidate in world.study("grid"))[-2] < 1.0
    folder = world.folder / "grid"
    assert {"study.jsonl", "study.md", "pareto.svg", "best"} <= {file.name for file in folder.iterdir()}
    texts, gold = validation_rows(world, "first")
    assert answers(world.base, folder / "best", texts) == gold
    assert json.loads((folder / "best" / "merge.json").read_text())["exact"]


def test_scores_are_those_of_single_merges(world: SearchWorld, tmp_path: Path) -> None:
    assert world.search("checked", candidates=2).exit_code == 0
    base = {task: accuracy(world, None, task) for task in ("first", "second")}
    assert min(base.values()) < 0.5
    for number, candidate in enumerate(world.study("checked")):
        adapter = merge(world, candidate["weights"], tmp_path / f"merge{number}")
        for task in ("first", "second"):
            assert candidate["tasks"][task] == pytest.approx(accuracy(world, adapter, task), abs=1e-6)
        assert candidate["seen"]["value"] == pytest.approx(sum(candidate["tasks"].values()) / 2, abs=1e-6)
        for left_out, kept, task in (("one", "two", "first"), ("two", "one", "second")):
            single = merge(world, {kept: candidate["weights"][kept]}, tmp_path / f"{kept}{number}")
            change = accuracy(world, single, task) - base[task]
            assert candidate["left_out"][left_out] == pytest.approx(change, abs=1e-5)
        worst = min(candidate["left_out"].values())
        assert candidate["leave_out"]["value"] == worst == candidate["left_out"][candidate["worst"]]
        assert candidate["divergence"]["value"] == pytest.approx(mean_divergence(world, adapter), rel=1e-3)
        for objective in ("seen", "leave_out", "divergence"):
            assert candidate[objective]["low"] <= candidate[objective]["high"]


def mean_divergence(world: SearchWorld, adapter: Path) -> float:
    """The divergence on the unlabelled prompts, by transformers and PEFT alone."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from fin_plugins.training.conversations import read_instructions
    from fin_plugins.training.training_data import subsample

    tokenizer = AutoTokenizer.from_pretrained(world.base)
    base = AutoModelForCausalLM.from_pretrained(world.base)
    other = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(world.base), adapter)
    divergences = []
    with torch.no_grad():
        for text in subsample(read_instructions(None), 3, 0, "unlabelled"):
            tokens = torch.tensor([tokenizer(text)["input_ids"]])
            p, q = (model(tokens).logits[0, -1].double().log_softmax(-1) for model in (base, other))
            divergences.append(float((p.exp() * (p - q)).sum()))
    return sum(divergences) / len(divergences)


@pytest.fixture(scope="module")
def unbroken(world: SearchWorld) -> list[dict[str, Any]]:
    """A search with random weights that ran to its end."""
    assert world.search("unbroken", candidates=8).exit_code == 0
    return world.study("unbroken")


def study_bytes(world: SearchWorld, name: str) -> bytes:
    return (world.folder / name / "study.jsonl").read_bytes()


def test_the_floor_excludes_candidates(world: SearchWorld, unbroken: list[dict[str, Any]]) -> None:
    floor = {"divergence": sorted(candidate["divergence"]["value"] for candidate in unbroken)[1]}
    output = json.loads(world.search("bound", "--json", candidates=8, floor=floor).stdout)
    assert [candidate["weights"] for candidate in world.study("bound")] == [it["weights"] for it in unbroken]
    feasible = [it for it in world.study("bound") if it["divergence"]["value"] <= floor["divergence"]]
    assert len(feasible) == 2
    assert output["best"]["seen"] == max(feasible, key=lambda candidate: candidate["seen"]["value"])["seen"]
    assert max(candidate["seen"]["value"] for candidate in unbroken) >= output["best"]["seen"]["value"]


@pytest.mark.parametrize("sampler", ["random", "grid", "cma"])
def test_an_interrupted_search_ends_like_an_unbroken_one(
    world: SearchWorld, sampler: str, unbroken: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    if sampler == "cma":
        pytest.importorskip("cmaes")
    settings = {**GRID, "steps": 3} if sampler == "grid" else {"sampler": sampler, "candidates": 8}
    expected = "unbroken" if sampler == "random" else f"{sampler}-unbroken"
    if sampler != "random":
        assert world.search(expected, **settings).exit_code == 0
    score, interrupted_at = Objectives.score_candidate, 5
    scored: list[int] = []

    def score_or_interrupt(self: Objectives, number: int, weights: dict[str, float]) -> Candidate:
        if number == interrupted_at and len(scored) == interrupted_at:
            scored.clear()
            raise KeyboardInterrupt
        scored.append(number)
        return score(self, number, weights)

    monkeypatch.setattr(Objectives, "score_candidate", score_or_interrupt)
    name = f"{sampler}-interrupted"
    assert world.search(name, **settings).exit_code == 130
    assert len(world.study(name)) == interrupted_at
    assert world.search(name, **settings).exit_code == 0
    assert scored == list(range(interrupted_at, 9 if sampler == "grid" else 8))
    assert study_bytes(world, name) == study_bytes(world, expected)


def test_a_killed_search_ends_like_an_unbroken_one(world: SearchWorld, unbroken: list[dict[str, Any]]) -> None:
    file, study = world.file("killed", candidates=8), world.folder / "killed" / "study.jsonl"
    command = [sys.executable, "-c", "from fin_plugins.cli.main import main; main()", "merge", "search", str(file)]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        if study.is_file() and study.read_bytes().count(b"\n") > 2:
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 0 < len(world.study("killed")) < 8
    with study.open("ab") as stream:
        stream.write(b'{"candidate": 99, "wei')  # as if killed in the middle of a line
    assert world.search("killed", candidates=8).exit_code == 0
    assert study_bytes(world, "killed") == study_bytes(world, "unbroken")


def test_a_study_can_be_extended_but_not_mixed_with_another(world: SearchWorld) -> None:
    assert world.search("more", candidates=2).exit_code == 0
    first = study_bytes(world, "more")
    assert world.search("more", candidates=4).exit_code == 0
    assert study_bytes(world, "more").startswith(first) and len(world.study("more")) == 4
    other = world.search("more", "--set", "rows=5", candidates=4)
    assert "config.rows, rows.first, rows.second" in str(other.exception)
    assert study_bytes(world, "more").startswith(first)
    fresh = world.search("more", "--fresh", "--set", "rows=5", candidates=1)
    assert fresh.exit_code == 0 and len(world.study("more")) == 1


def test_if_nothing_beats_the_base_no_merge_is_written(world: SearchWorld) -> None:
    result = world.search("still", **GRID, steps=3, floor={"divergence": 1e-9})
    assert result.exit_code == 0 and "the base alone" in result.stdout
    assert not (world.folder / "still" / "best").exists()


def test_a_dry_run_writes_nothing(world: SearchWorld) -> None:
    result = world.search("dry", "--dry-run", "--json", candidates=7)
    assert result.exit_code == 0 and not (world.folder / "dry").exists()
    output = json.loads(result.stdout)
    assert output["candidates"] == 7 and output["passes"] == 4 * ROWS + 3


def test_if_no_candidate_keeps_the_floor_the_nearest_can_be_written(world: SearchWorld) -> None:
    floor = {"leave_out": 1.5}  # out of reach
    result = world.search("short", floor=floor)
    assert result.exit_code == 0 and "No candidate keeps the floor" in result.stdout
    assert not (world.folder / "short" / "best").exists()
    result = world.search("short", floor=floor, otherwise="nearest")  # the same study, because no score changes
    assert result.exit_code == 0, result.output
    best = world.folder / "short" / "best"
    assert (best / "adapter_config.json").is_file()
    nearest = min(world.study("short"), key=lambda it: (1.5 - it["leave_out"]["value"], -it["seen"]["value"]))
    assert f"`best/` holds candidate {nearest['candidate']}" in (world.folder / "short" / "study.md").read_text()
    experts = json.loads((best / "merge.json").read_text())["experts"]
    assert [expert["parameters"]["weight"] for expert in experts] == list(nearest["weights"].values())
