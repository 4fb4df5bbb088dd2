"""Nothing is found in files that are right: ours, and lm-eval's own."""

import random
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from fin_plugins.checks.shipped import lm_eval_folder, lm_eval_names, lm_eval_tags
from fin_plugins.cli.main import fin
from fin_plugins.common.locations import task_folder, training_folder
from tests.checks.seeing import seen

SEED, SAMPLE = 9, 50

# What is really wrong in lm-eval 0.4.13: keys given twice, a misspelt one, a group with members that it stops at.
TRUE = re.compile(
    r"given twice; the first time in line \d+ \[Y05\]$"
    r"|mmlu_early_training.yaml:16:5 metric_list.0.high_is_better:|t0_eval.yaml:\d+:5 task.\d: names neither"
)


def test_ours() -> None:
    asked = ["task", "check", str(task_folder()), str(training_folder()), "--no-rows"]
    done = CliRunner().invoke(fin, asked)
    assert (done.exit_code, done.stderr) == (0, "")
    assert re.fullmatch(r"\d{2} files, no problem\n", done.stdout)


def drawn(number: int, seed: int) -> list[str]:
    """lm-eval's tasks and groups, at random."""
    defines = re.compile(rb"""^["']?(?:task|group)["']?:""", re.MULTILINE)
    files = sorted(lm_eval_folder().rglob("*.yaml"))
    random.Random(seed).shuffle(files)
    found = (str(file) for file in files if defines.search(file.read_bytes()))
    return [next(found) for _ in range(number)]


def test_lm_evals() -> None:
    files = drawn(SAMPLE, SEED)
    groups = [file for file in files if re.search(r"^group:", Path(file).read_text(encoding="utf-8"), re.MULTILINE)]
    assert 2 <= len(groups) <= SAMPLE - 2
    assert [str(one) for one in seen(*files)] == []


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(100, 106))
def test_more_of_lm_evals(seed: int) -> None:
    assert [line for one in seen(*drawn(300, seed)) if not TRUE.search(line := str(one))] == []


@pytest.mark.prove
def test_lm_evals_names_are_those_of_its_index() -> None:
    from lm_eval.tasks._index import Kind, TaskIndex

    index = TaskIndex.build([lm_eval_folder()])
    theirs = {name: entry for name, entry in index.items() if not str(entry.yaml_path).startswith(str(task_folder()))}
    assert {name for name, entry in theirs.items() if entry.kind != Kind.TAG} <= lm_eval_names()
    ours = {"fin_sentiment"}
    assert {name for name, entry in theirs.items() if entry.kind == Kind.TAG} - ours <= lm_eval_tags()
    assert len(lm_eval_names() - set(index)) < 10
