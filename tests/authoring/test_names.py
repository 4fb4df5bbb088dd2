"""Names: what is taken, by whom, and what is none."""

from pathlib import Path

import pytest
from lm_eval.tasks import TaskManager

from fin_plugins.authoring import names
from fin_plugins.common.errors import FinError


@pytest.mark.parametrize("name", ["my-task", "my task", "1st", "", "täsk", "a/b", "x" * 101, "my_task\n"])
def test_no_names(name: str) -> None:
    with pytest.raises(FinError, match="no name for a task"):
        names.check_name(name)


def test_a_twin_is_not_named() -> None:
    with pytest.raises(FinError, match="`_gen` is what the twin's name ends in"):
        names.check_name("my_task_gen")


def test_what_is_taken_says_where() -> None:
    with pytest.raises(FinError, match=r"fin_fpb is a task, group or tag already, in .*fin_fpb\.yaml"):
        names.check_name("fin_fpb")
    with pytest.raises(FinError, match=r"boolq is a task.*super_glue"):
        names.check_name("boolq")
    names.check_name("a_name_that_nobody_has")


@pytest.mark.parametrize("folder", ["glue", "super_glue", "mmlu/default"])
def test_it_finds_what_lm_evals_own_index_finds(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import lm_eval

    below = Path(lm_eval.__file__).parent / "tasks" / folder
    files = sorted(below.rglob("*.yaml"))
    monkeypatch.setattr(names, "_task_files", lambda: iter(files))
    index = TaskManager(include_defaults=False, include_path=str(below)).task_index
    assert len(index) > 5
    assert [name for name in index if names.taken_by(name) is None] == []
