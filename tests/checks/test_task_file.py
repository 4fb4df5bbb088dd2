"""Files are read as lm-eval reads them, with the location of every key."""

from pathlib import Path

import pytest

from fin_plugins.checks.task_file import Location, load_task_file
from fin_plugins.common.locations import experiment_folder, merge_folder
from fin_plugins.common.yaml_nodes import Function
from tests.checks.check_helpers import GOOD_TASK, load, static_findings, summary, write

pytestmark = pytest.mark.usefixtures("news_folder")


def test_includes_are_applied_like_in_lm_eval() -> None:
    from lm_eval.tasks._yaml_loader import load_yaml

    write("deep/base", "test_split: test\nmetadata: {version: 1.0, note: x}\ntask_list: [a]\n")
    write("deep/middle.yaml", "include: base\ndescription: from the middle\ntag: [one, two]\n")
    write("other", "description: from the other\nfewshot_split: train\n")
    file = load(write("top.yaml", "include: [deep/middle.yaml, other]\ntask: top\nmetadata: {version: 2.0}\n"))
    assert file.data == load_yaml(Path("top.yaml").resolve(), resolve_func=False)
    assert file.locations["description",] == Location("other", 1, 1)
    assert file.locations["test_split",] == Location("deep/base", 1, 1)
    assert file.locations["tag", 1] == Location("deep/middle.yaml", 3, 12)
    assert file.locations["metadata", "version"] == Location("top.yaml", 3, 12)
    assert ("metadata", "note") not in file.locations
    assert [path.name for path in file.includes] == ["middle.yaml", "base", "other"]


def test_functions_are_not_run() -> None:
    write("boom.py", "raise SystemExit\n\ndef choices(row): ...\n")
    name = write("runs.yaml", "task: runs\n" + GOOD_TASK.replace("choices\n", "!function boom.choices\n", 1))
    assert load(name).data["doc_to_choice"] == Function("boom.choices")
    assert static_findings(name) == []


def test_experiments_and_searches_are_not_training_files() -> None:
    for source in (experiment_folder() / "demo.yaml", merge_folder() / "search" / "pair.yaml"):
        name = write("other.yaml", source.read_text(encoding="utf-8"))
        assert [finding.code for finding in load_task_file(Path(name), name).findings] == ["K04"]


def test_a_file_that_cannot_be_opened() -> None:
    Path("gone.yaml").symlink_to("nowhere")
    assert summary(static_findings("gone.yaml")) == {"Y09 - line 1"}
