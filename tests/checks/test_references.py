"""Functions behind `!function` are found where lm-eval finds them, in files that may be anything."""

import os
from pathlib import Path

import pytest

from tests.checks.check_helpers import GOOD_TASK, static_findings, summary, write

pytestmark = pytest.mark.usefixtures("news_folder")
CALLS_TOOLS = "task: calls_tools\n" + GOOD_TASK.replace("choices\n", "!function tools.choices\n", 1)


def test_a_function_is_looked_up_beside_the_file_that_names_it() -> None:
    write("shared/tools.py", "def choices(row): ...\n")
    base = GOOD_TASK.replace("choices\n", "!function tools.choices\n", 1).replace("news.csv", "../news.csv")
    write("shared/_base", base)
    write("news.yaml", "include: shared/_base\ntask: news_of_mine\n")
    assert summary(static_findings("news.yaml")) == {"F05 dataset_kwargs.file line 4"}  # relative to the task's file
    write("tools.py", "")
    assert summary(static_findings("news.yaml")) == {"F05 dataset_kwargs.file line 4"}


def test_the_class_of_a_python_task_must_exist_but_its_keys_are_free() -> None:
    write("tools.py", "class Mine: ...\n")
    write("mine.yaml", "task: my_class\nclass: !function tools.Mine\nrecipe: anything\n")
    assert static_findings("mine.yaml") == []
    write("mine.yaml", "task: my_class\nclass: !function tools.Yours\nrecipe: anything\n")
    assert summary(static_findings("mine.yaml")) == {"F04 class line 2"}


def test_names_that_a_tasks_own_module_registers_are_known() -> None:
    write("tools.py", 'from lm_eval.api.registry import register_filter\n\n@register_filter("mine")\nclass Mine: ...\n')
    filters = "filter_list:\n- {name: one, filter: [{function: mine}]}\nprocess_docs: !function tools.Mine\n"
    write("news.yaml", "task: registers\n" + GOOD_TASK + filters)
    assert static_findings("news.yaml") == []
    write("tools.py", "class Mine: ...\n")
    assert {finding.code for finding in static_findings("news.yaml")} == {"M09"}


@pytest.mark.parametrize("source", ["x = " + "(" * 5000, "x = " + "-" * 100_000 + "1", "x" + ".y" * 50_000])
def test_a_module_that_python_cannot_parse(source: str) -> None:
    write("tools.py", source + "\n")
    assert {finding.code for finding in static_findings(write("news.yaml", CALLS_TOOLS))} == {"F04"}


@pytest.mark.parametrize("kind", ["loop", "pipe", "device", "huge"])
def test_a_module_that_is_not_an_ordinary_file(kind: str) -> None:
    if kind == "huge":
        with Path("tools.py").open("wb") as file:
            file.truncate(1 << 33)
    elif kind == "pipe":
        os.mkfifo("tools.py")
    else:
        Path("tools.py").symlink_to({"loop": "tools.py", "device": "/dev/zero"}[kind])
    assert [finding.code for finding in static_findings(write("news.yaml", CALLS_TOOLS))] == ["F04"]
