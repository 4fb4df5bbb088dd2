"""Whole searches on a tiny real model, as typed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.merging.search.worlds import PLANTED, ROWS, World, answers, merged

pytestmark = pytest.mark.usefixtures("one_thread")


def rows_of(world: World, task: str) -> tuple[list[str], list[int]]:
    rows = json.loads((world.folder / "rows.json").read_text())[task]["validation"]
    return [row["text"] for row in rows], [row["gold"] for row in rows]


def accuracy(world: World, folder: Path | None, task: str) -> float:
    texts, gold = rows_of(world, task)
    return sum(a == b for a, b in zip(answers(world.base, folder, texts), gold, strict=True)) / ROWS


def test_the_planted_weights_are_found(world: World) -> None:
    done = world.search("grid", "--json", sampler="grid", candidates=None, steps=5)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["candidates"] == 25
    assert told["best"]["weights"] == PLANTED and told["best"]["seen"]["value"] == 1.0
    assert sorted(line["seen"]["value"] for line in world.study("grid"))[-2] < 1.0
    folder = world.folder / "grid"
    assert {"study.jsonl", "study.md", "pareto.svg", "best"} <= {file.name for file in folder.iterdir()}
    texts, gold = rows_of(world, "first")
    assert answers(world.base, folder / "best", texts) == gold
    assert json.loads((folder / "best" / "merge.json").read_text())["exact"]


def test_scores_are_those_of_merges_made_one_by_one(world: World, tmp_path: Path) -> None:
    assert world.search("checked", candidates=2).exit_code == 0
    base = {task: accuracy(world, None, task) for task in ("first", "second")}
    assert min(base.values()) < 0.5
    for number, line in enumerate(world.study("checked")):
        whole = merged(world, line["weights"], tmp_path / f"whole{number}")
        for task in ("first", "second"):
            assert line["tasks"][task] == pytest.approx(accuracy(world, whole, task), abs=1e-6)
        assert line["seen"]["value"] == pytest.approx(sum(line["tasks"].values()) / 2, abs=1e-6)
        for left, kept, task in (("one", "two", "first"), ("two", "one", "second")):
            alone = merged(world, {kept: line["weights"][kept]}, tmp_path / f"{kept}{number}")
            assert line["left_out"][left] == pytest.approx(accuracy(world, alone, task) - base[task], abs=1e-5)
        assert line["leave_out"]["value"] == min(line["left_out"].values()) == line["left_out"][line["worst"]]
        assert line["divergence"]["value"] == pytest.approx(divergence(world, whole), rel=1e-3)
        assert all(line[key]["low"] <= line[key]["high"] for key in ("seen", "leave_out", "divergence"))


def divergence(world: World, folder: Path) -> float:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from fin_plugins.training.mixture import draw
    from fin_plugins.training.replay.own import read_instructions

    tokenizer = AutoTokenizer.from_pretrained(world.base)
    base = AutoModelForCausalLM.from_pretrained(world.base)
    other = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(world.base), folder)
    found = []
    with torch.no_grad():
        for text in draw(read_instructions(None), 3, 0, "unlabelled"):
            tokens = torch.tensor([tokenizer(text)["input_ids"]])
            p, q = (model(tokens).logits[0, -1].double().log_softmax(-1) for model in (base, other))
            found.append(float((p.exp() * (p - q)).sum()))
    return sum(found) / len(found)


def test_the_floor_rules_candidates_out(world: World) -> None:
    free = world.search("free", "--json", candidates=6)
    floor = {"divergence": sorted(line["divergence"]["value"] for line in world.study("free"))[1]}
    told = json.loads(world.search("bound", "--json", candidates=6, floor=floor).stdout)
    assert [line["weights"] for line in world.study("bound")] == [line["weights"] for line in world.study("free")]
    kept = [line for line in world.study("bound") if line["divergence"]["value"] <= floor["divergence"]]
    assert len(kept) == 2 and told["best"]["seen"] == max(kept, key=lambda line: line["seen"]["value"])["seen"]
    assert json.loads(free.stdout)["best"]["seen"]["value"] >= told["best"]["seen"]["value"]
    none = world.search("none", candidates=2, floor={"leave_out": 0.99})
    assert none.exit_code == 0 and "No candidate keeps the floor. Nearest: candidate" in none.stdout
    assert not (world.folder / "none" / "best").exists()


@pytest.mark.parametrize("sampler", ["random", "grid", "cma"])
def test_a_stopped_search_ends_as_an_unbroken_one(world: World, sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if sampler == "cma":
        pytest.importorskip("cmaes")
    settings = {"sampler": sampler, **({"steps": 3, "candidates": None} if sampler == "grid" else {"candidates": 8})}
    assert world.search(f"{sampler}-unbroken", **settings).exit_code == 0
    from fin_plugins.merging.search.scored import Scorer

    score = Scorer.candidate

    def stopped(self: Scorer, number: int, weights: dict[str, float]) -> object:
        if number == 5:
            raise KeyboardInterrupt
        return score(self, number, weights)

    with monkeypatch.context() as patch:
        patch.setattr(Scorer, "candidate", stopped)
        broken = world.search(f"{sampler}-broken", **settings)
    assert broken.exit_code == 130 and "goes on from there" in broken.stderr
    assert len(world.study(f"{sampler}-broken")) == 5
    scored: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(Scorer, "candidate", lambda *given: (scored.append(given[1]), score(*given))[1])
        assert world.search(f"{sampler}-broken", **settings).exit_code == 0
    assert scored == list(range(5, 9 if sampler == "grid" else 8))
    assert same(world, f"{sampler}-unbroken", f"{sampler}-broken")


def same(world: World, first: str, second: str) -> bool:
    one, other = ((world.folder / name / "study.jsonl").read_bytes() for name in (first, second))
    return one == other


def test_a_killed_search_ends_as_an_unbroken_one(world: World) -> None:
    assert world.search("whole", candidates=30).exit_code == 0
    file, study = world.file("killed", candidates=30), world.folder / "killed" / "study.jsonl"
    words = [sys.executable, "-c", "from fin_plugins.cli.main import main; main()", "merge", "search", str(file)]
    process = subprocess.Popen(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        if study.is_file() and study.read_bytes().count(b"\n") > 4:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(world.study("killed"))
    assert 0 < done < 30
    with study.open("ab") as out:
        out.write(b'{"candidate": 99, "wei')  # as if killed in the middle of a line
    assert world.search("killed", candidates=30).exit_code == 0
    assert same(world, "whole", "killed")


def test_a_study_goes_on_further_and_is_not_mixed_with_another(world: World) -> None:
    assert world.search("more", candidates=2).exit_code == 0
    first = (world.folder / "more" / "study.jsonl").read_bytes()
    assert world.search("more", candidates=4).exit_code == 0
    assert (world.folder / "more" / "study.jsonl").read_bytes().startswith(first) and len(world.study("more")) == 4
    other = world.search("more", "--set", "rows=5", candidates=4)
    assert "is a study with another config.rows, rows.first, rows.second: name another output" in str(other.exception)
    assert (world.folder / "more" / "study.jsonl").read_bytes().startswith(first)
    fresh = world.search("more", "--fresh", "--set", "rows=5", candidates=1)
    assert fresh.exit_code == 0 and len(world.study("more")) == 1


def test_where_nothing_beats_the_base_there_is_no_merge(world: World) -> None:
    done = world.search("still", sampler="grid", candidates=None, steps=3, floor={"divergence": 1e-9})
    assert done.exit_code == 0 and "That is the base alone: there is no merge to write." in done.stdout
    assert not (world.folder / "still" / "best").exists()


def test_a_dry_run_writes_nothing(world: World) -> None:
    done = world.search("dry", "--dry-run", candidates=7)
    assert done.exit_code == 0 and not (world.folder / "dry").exists()
    assert f"7 candidates, {4 * ROWS + 3} rows and prompts each at most" in done.stdout


def test_where_no_candidate_keeps_the_floor_the_nearest_is_written_if_asked(world: World) -> None:
    floor = {"leave_out": 1.5}  # out of reach
    assert world.search("short", floor=floor).exit_code == 0
    assert not (world.folder / "short" / "best").exists()
    done = world.search("short", floor=floor, otherwise="nearest")  # the same study: it changes no score
    assert done.exit_code == 0, done.output
    assert (world.folder / "short" / "best" / "adapter_config.json").is_file()
    told = (world.folder / "short" / "study.md").read_text()
    assert "No candidate keeps the floor." in told and "as `otherwise: nearest` asks" in told
    lines = world.study("short")
    nearest = min(lines, key=lambda line: (1.5 - line["leave_out"]["value"], -line["seen"]["value"]))
    merged_of = json.loads((world.folder / "short" / "best" / "merge.json").read_text())
    assert f"`best/` holds candidate {nearest['candidate']}" in told
    assert [one["parameters"]["weight"] for one in merged_of["experts"]] == list(nearest["weights"].values())
