"""Which names exist, and files that share one."""

from pathlib import Path

import pytest

from fin_plugins.checks.task_names import find_name_owner, lm_eval_folder, lm_eval_names, lm_eval_tags
from fin_plugins.common.locations import task_folder
from tests.checks.check_helpers import GOOD_TASK, static_findings, write


def test_two_files_with_one_name(news_folder: Path) -> None:
    write("a.yaml", "task: twice\n" + GOOD_TASK)
    write("b.yaml", "task: twice\n" + GOOD_TASK)
    (finding,) = static_findings("a.yaml", "b.yaml")
    assert (finding.file, finding.code) == ("b.yaml", "N02") and "a.yaml" in finding.message


@pytest.mark.parametrize("folder", ["glue", "super_glue", "mmlu/default"])
def test_every_name_in_lm_evals_index_has_an_owner(folder: str) -> None:
    from lm_eval.tasks import TaskManager

    tasks = lm_eval_folder() / folder
    index = TaskManager(include_defaults=False, include_path=str(tasks)).task_index
    assert len(index) > 5
    assert [name for name in index if find_name_owner(name) is None] == []


@pytest.mark.prove
def test_lm_evals_names_are_those_of_its_index() -> None:
    from lm_eval.tasks._index import Kind, TaskIndex

    index = TaskIndex.build([lm_eval_folder()])
    entries = {name: entry for name, entry in index.items() if not str(entry.yaml_path).startswith(str(task_folder()))}
    assert {name for name, entry in entries.items() if entry.kind != Kind.TAG} <= set(lm_eval_names())
    assert {name for name, entry in entries.items() if entry.kind == Kind.TAG} - {"fin_sentiment"} <= set(
        lm_eval_tags()
    )
    assert len(set(lm_eval_names()) - set(index)) < 10
