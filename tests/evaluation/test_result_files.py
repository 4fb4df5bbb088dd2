"""Result files: complete sets, in place, written once; the newest evaluation counts."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fin_plugins.board.reading.load_runs import load_runs
from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.result_files import ResultFolder, fingerprint, task_hashes
from tests.evaluation.eval_workspace import EngineLog, EvalWorkspace
from tests.evaluation.factories import llama


def _tracker(name: str = "org/model") -> Any:
    from lm_eval.loggers import EvaluationTracker

    tracker = EvaluationTracker()
    tracker.general_config_tracker.log_experiment_args("fin_hf", {"pretrained": name}, None, None, False)
    return tracker


def _results() -> dict[str, Any]:
    return {"results": {"t": {"acc,none": 0.5}}, "configs": {"t": {"metric": "f"}}, "config": {"batch_sizes": []}}


def _samples() -> dict[str, Any]:
    hashes = {"doc_hash": "1", "prompt_hash": "2", "target_hash": "3"}
    sample = {"arguments": [("a", " b")], "resps": [[(-1.0, True)]], "filtered_resps": [(-1.0, True)], "target": 0}
    return {"t": [{**sample, **hashes}]}


@pytest.mark.parametrize("name", ["out", "out/run.json"])
def test_files_have_the_names_that_lm_eval_gives(name: str, tmp_path: Path) -> None:
    stock = _tracker()
    stock.output_path = str(tmp_path / "stock" / name)
    stock.save_results_aggregated(results=_results(), samples=_samples())
    stock.save_results_samples(task_name="t", samples=_samples()["t"])
    folder = ResultFolder(str(tmp_path / "ours" / name))
    files = folder.save("mark", {}, _tracker(), _results(), _samples())
    assert [_undated(file, tmp_path / "ours") for file in files] == sorted(
        (_undated(file, tmp_path / "stock") for file in (tmp_path / "stock").rglob("*.json*")),
        key=lambda name: name.endswith(".json"),
    )
    assert folder.find("mark", {}) == files
    assert folder.find("other", {}) is None
    assert not list(tmp_path.rglob("writing-*"))


def _undated(file: Path, root: Path) -> str:
    name, _, _ = file.name.partition("_20")
    return str(file.relative_to(root).with_name(name + file.suffix))


def test_a_failure_that_lm_eval_only_warns_of_is_an_error(tmp_path: Path) -> None:
    folder = ResultFolder(str(tmp_path))
    with pytest.raises(FinError, match="0 of 2"):
        folder.save("mark", {}, _tracker("x" * 300), _results(), _samples())  # too long for a folder name
    assert folder.find("mark", {}) is None
    assert not list(tmp_path.rglob("*.json*"))


def test_an_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "org__model").write_text("a file where a folder must be")
    with pytest.raises(FinError, match=r"cannot be written .*another --output_path"):
        ResultFolder(str(tmp_path)).save("mark", {}, _tracker(), _results(), _samples())


def test_a_changed_file_leads_to_new_files(tmp_path: Path) -> None:
    folder = ResultFolder(str(tmp_path))
    files = folder.save("mark", {}, _tracker(), _results(), _samples())
    files[0].write_text("")
    assert folder.find("mark", {}) is None
    assert all(file.exists() for file in files)  # the user's change is preserved


def _mark(results: dict[str, Any], samples: dict[str, Any] | None, identity: str) -> str:
    return fingerprint(results, task_hashes(results, samples, identity))


def test_the_fingerprint_covers_stable_content_only() -> None:
    results, samples = _results(), _samples()
    mark = _mark(results, samples, "m")
    assert _mark({**results, "date": 1, "pretty_env_info": "x"}, samples, "m") == mark
    assert _mark(results, samples, "n") != mark
    assert _mark(results, None, "m") != mark
    other = json.loads(json.dumps(results))
    other["results"]["t"]["acc,none"] = 0.25
    assert _mark(other, samples, "m") != mark
    marks = set()
    for address in ("0x7f01", "0x7f02"):  # lm-eval writes a function without source with its memory address
        results["configs"]["t"]["metric"] = f"<function f at {address}>"
        marks.add(_mark(results, samples, "m"))
    assert len(marks) == 1


@pytest.fixture
def scored(workspace: EvalWorkspace) -> EvalWorkspace:
    """A workspace with the base scored in its present folder only."""
    for folder in workspace.output.glob("*__*"):
        shutil.rmtree(folder)
    assert workspace.run() == EngineLog()
    return workspace


@pytest.fixture
def other_weights(workspace: EvalWorkspace, tmp_path: Path) -> Path:
    """Other weights for the base's folder."""
    config = json.loads((workspace.base / "config.json").read_text())
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    sizes = {name: config[name] for name in (*names, "num_key_value_heads", "max_position_embeddings")}
    return llama(tmp_path / "b", seed=3, **sizes) / "model.safetensors"


def _board_answers(workspace: EvalWorkspace) -> str:
    """The base's answers to task `first` that the board uses."""
    reading = load_runs([workspace.output])
    (column,) = [column for column in reading.columns if column.task == "first" and column.conditions.limit is None]
    (entry,) = column.entries
    stamp = Path(entry.source.file).name.removeprefix("results_").removesuffix(".json")
    (samples,) = workspace.output.rglob(f"samples_first_{stamp}.jsonl")
    return str([json.loads(line)["filtered_resps"] for line in samples.read_text().splitlines()])


def _base_result_files(workspace: EvalWorkspace) -> list[Path]:
    return sorted(workspace.output.glob("*__base/results_*.json"))


def _swap(workspace: EvalWorkspace, weights: Path) -> None:
    shutil.copyfile(weights, workspace.base / "model.safetensors")


def test_restored_weights_count_again(
    scored: EvalWorkspace, other_weights: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = Path(shutil.copy(scored.base / "model.safetensors", tmp_path / "a.safetensors"))
    a = _board_answers(scored)
    _swap(scored, other_weights)
    scored.run(tasks="first")
    b = _board_answers(scored)
    assert a != b
    _swap(scored, first)
    capfd.readouterr()
    assert scored.run() == EngineLog()  # all answers are cached; the result file is written again
    assert "written before" not in capfd.readouterr().err
    assert _board_answers(scored) == a
    files = _base_result_files(scored)
    assert scored.run() == EngineLog() and scored.run() == EngineLog()
    assert _base_result_files(scored) == files  # but only once
    _swap(scored, other_weights)
    assert scored.run(tasks="first") == EngineLog()
    assert _board_answers(scored) == b


def test_alternating_commands_write_nothing(scored: EvalWorkspace) -> None:
    commands: list[tuple[list[str], str]] = [([], "both,reply"), ([], "first"), (["--limit", "2"], "first,reply")]
    for words, tasks in commands:
        scored.run(*words, tasks=tasks)
    files = scored.files()
    for words, tasks in commands * 2:
        assert scored.run(*words, tasks=tasks) == EngineLog()
    assert scored.files() == files


def test_a_newer_result_of_lm_eval_leads_to_a_new_file(scored: EvalWorkspace) -> None:
    (ours,) = _base_result_files(scored)
    foreign = ours.with_name("results_2999-01-01T00-00-00.000000.json")
    data = json.loads(ours.read_text())
    foreign.write_text(json.dumps({**data, "config": {**data["config"], "model": "hf"}}))
    scored.run()
    assert len(_base_result_files(scored)) == 3


@pytest.mark.parametrize("text", ["", "[" * 100_000, "[]", "{}", '{"results": {"first": 1}, "n-samples": 3}'])
def test_a_newer_invalid_file_is_ignored(text: str, scored: EvalWorkspace) -> None:
    (ours,) = _base_result_files(scored)
    ours.with_name("results_2999-01-01T00-00-00.000000.json").write_text(text)
    assert scored.run() == EngineLog()


def test_several_models_in_one_folder_are_distinguished(scored: EvalWorkspace) -> None:
    words = ["--output_path", str(scored.output / "run.json"), *scored.flags()]
    scored.run(*words)
    files = scored.files()
    assert scored.run(*words) == EngineLog()
    assert scored.files() == files
