"""No false alarms: neither on the package's tasks, with sample or real rows and a tokenizer, nor on lm-eval's tasks."""

import random
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from fin_plugins.checks.row_loading import load_task_rows
from fin_plugins.checks.runner import CheckOptions
from fin_plugins.checks.task_names import lm_eval_folder
from fin_plugins.cli.main import fin
from fin_plugins.common.locations import task_folder, training_folder
from tests.checks.check_helpers import load, row_findings, static_findings

TASKS = sorted(map(str, (task_folder() / "fin").glob("fin_*.yaml")))
NO_FINDINGS = {name: ([], None) for name in TASKS}
SAMPLE, SEED = 50, 9
REAL_PROBLEMS = re.compile(
    r"\[Y05\]$"  # duplicate keys
    r"|mmlu_early_training.yaml:16:5 metric_list.0.high_is_better:|t0_eval.yaml:\d+:5 task.\d: names neither"
)
"""Problems that lm-eval 0.4.13's own files do have."""


def test_bundled_files() -> None:
    done = CliRunner().invoke(fin, ["task", "check", str(task_folder()), str(training_folder()), "--no-rows"])
    assert (done.exit_code, done.stderr) == (0, "")
    assert re.match(r"\d{2} files, no problem", done.stdout)


def test_bundled_tasks_with_sample_rows_and_a_tokenizer(sample_data: None, demo_model_path: Path) -> None:
    assert len(TASKS) == 20
    options = CheckOptions(tokenizer=str(demo_model_path))
    assert {name: row_findings(name, options) for name in TASKS} == NO_FINDINGS
    for name in TASKS:
        rows = load_task_rows(load(name)).rows
        assert rows is not None and all(split.documents for split in rows.splits.values())


def test_rows_that_were_not_fetched_are_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIN_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("FIN_DATA", raising=False)
    findings, note = row_findings(TASKS[0])
    assert findings == [] and note is not None and "`fin data fetch fin_argument`" in note


def test_bundled_tasks_with_real_rows(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIN_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("FIN_DATA", raising=False)
    done = CliRunner().invoke(fin, ["data", "fetch", "--mirror", str(mirror)])
    assert done.exit_code == 0, done.output
    assert {name: row_findings(name) for name in TASKS} == NO_FINDINGS


def sample_lm_eval_files(number: int, seed: int) -> list[str]:
    """Random task and group files of lm-eval."""
    defines = re.compile(rb"""^["']?(?:task|group)["']?:""", re.MULTILINE)
    files = sorted(lm_eval_folder().rglob("*.yaml"))
    random.Random(seed).shuffle(files)
    matching = (str(file) for file in files if defines.search(file.read_bytes()))
    return [next(matching) for _ in range(number)]


def test_lm_evals_files() -> None:
    files = sample_lm_eval_files(SAMPLE, SEED)
    groups = [file for file in files if re.search(r"^group:", Path(file).read_text(encoding="utf-8"), re.MULTILINE)]
    assert 2 <= len(groups) <= SAMPLE - 2
    assert [str(finding) for finding in static_findings(*files)] == []


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(100, 106))
def test_more_of_lm_evals_files(seed: int) -> None:
    lines = map(str, static_findings(*sample_lm_eval_files(300, seed)))
    assert [line for line in lines if not REAL_PROBLEMS.search(line)] == []
