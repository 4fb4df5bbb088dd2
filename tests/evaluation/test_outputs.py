"""Result files: whole sets, in place, once."""

import json
from pathlib import Path
from typing import Any

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.newest import task_hashes
from fin_plugins.evaluation.outputs import Outputs, fingerprint


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
def test_files_lie_where_lm_eval_puts_them(name: str, tmp_path: Path) -> None:
    theirs = _tracker()
    theirs.output_path = str(tmp_path / "theirs" / name)
    theirs.save_results_aggregated(results=_results(), samples=_samples())
    theirs.save_results_samples(task_name="t", samples=_samples()["t"])
    outputs = Outputs(str(tmp_path / "ours" / name))
    files = outputs.save("mark", {}, _tracker(), _results(), _samples())
    assert [_undated(file, tmp_path / "ours") for file in files] == sorted(
        (_undated(file, tmp_path / "theirs") for file in (tmp_path / "theirs").rglob("*.json*")),
        key=lambda name: name.endswith(".json"),
    )
    assert outputs.written("mark", {}) == files
    assert outputs.written("other", {}) is None
    assert not list(tmp_path.rglob("writing-*"))


def _undated(file: Path, root: Path) -> str:
    name, _, _ = file.name.partition("_20")
    return str(file.relative_to(root).with_name(name + file.suffix))


def test_what_lm_eval_only_warns_of_is_an_error(tmp_path: Path) -> None:
    outputs = Outputs(str(tmp_path))
    with pytest.raises(FinError, match="lm-eval wrote 0 of 2 result and sample files"):
        outputs.save("mark", {}, _tracker("x" * 300), _results(), _samples())  # no folder may have so long a name
    assert outputs.written("mark", {}) is None
    assert not list(tmp_path.rglob("*.json*"))


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "org__model").write_text("a file where a folder must be")
    with pytest.raises(FinError, match=r"cannot be written .*another --output_path"):
        Outputs(str(tmp_path)).save("mark", {}, _tracker(), _results(), _samples())


def test_a_changed_file_is_written_anew_beside_it(tmp_path: Path) -> None:
    outputs = Outputs(str(tmp_path))
    files = outputs.save("mark", {}, _tracker(), _results(), _samples())
    files[0].write_text("")
    assert outputs.written("mark", {}) is None
    assert all(file.exists() for file in files)  # the result file is there: what a user did is left alone


def _mark(results: dict[str, Any], samples: dict[str, Any] | None, identity: str) -> str:
    return fingerprint(results, task_hashes(results, samples, identity))


def test_the_fingerprint_is_of_what_is_told() -> None:
    results, samples = _results(), _samples()
    mark = _mark(results, samples, "m")
    assert _mark({**results, "date": 1, "pretty_env_info": "x"}, samples, "m") == mark
    assert _mark(results, samples, "n") != mark
    assert _mark(results, None, "m") != mark
    other = json.loads(json.dumps(results))
    other["results"]["t"]["acc,none"] = 0.25
    assert _mark(other, samples, "m") != mark
    marks = set()
    for address in ("0x7f01", "0x7f02"):  # a function without source is written with its place in memory
        results["configs"]["t"]["metric"] = f"<function f at {address}>"
        marks.add(_mark(results, samples, "m"))
    assert len(marks) == 1
