"""Which tasks are found, by name, by path and by folder."""

from pathlib import Path

import pytest

from fin_plugins.catalogue.task_search import find_task, search_tasks
from fin_plugins.common.errors import FinError
from fin_plugins.common.locations import task_folder
from tests.catalogue.task_fixtures import write_mood_tasks


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of tasks that is not the working folder."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    write_mood_tasks(tmp_path / "mine")
    return tmp_path / "mine"


def test_every_bundled_task_is_found_with_its_groups() -> None:
    tasks = search_tasks(()).tasks
    assert set(tasks) >= {file.stem for file in task_folder().rglob("fin_*.yaml")}
    assert set(tasks["fin_fpb"].groups) == {"fin", "fin_seen", "fin_sentiment"}
    assert tasks["fin_causal_full"].groups == ()
    assert (tasks["fin_fpb"].protocol, tasks["fin_fpb_gen"].protocol) == ("choice", "gen")
    assert tasks["fin_fpb_gen"].fin == tasks["fin_fpb"].fin
    assert tasks["fin_fpb"].description.startswith("Sentiment of company news")


def test_own_tasks_in_a_folder_and_in_the_working_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "moods" not in search_tasks(()).tasks
    task = search_tasks([folder]).tasks["moods"]
    assert task.groups == ("moody", "short") and task.description == "Moods of short notes. Made for a test."
    monkeypatch.chdir(folder)
    assert {"moods", "moods_gen"} <= set(search_tasks(()).tasks)


def test_groups_in_groups_and_a_group_that_contains_itself(folder: Path) -> None:
    (folder / "all.yaml").write_text("group: all_moods\ntask:\n  - group: pair\n  - inner\n", encoding="utf-8")
    (folder / "inner.yaml").write_text("group: inner\ntask: [{task: moods}, inner, all_moods]\n", encoding="utf-8")
    assert search_tasks([folder]).tasks["moods"].groups == ("all_moods", "inner", "moody", "short")


def test_an_invalid_file_is_reported_and_the_rest_is_listed(folder: Path) -> None:
    (folder / "broken.yaml").write_text("task: [\n", encoding="utf-8")
    (folder / "other.yaml").write_text("port: 80\n", encoding="utf-8")
    result = search_tasks([folder])
    assert "moods" in result.tasks
    (line,) = result.problems
    assert "broken.yaml:2:1" in line and "fin task check" in line


def test_foreign_tasks_are_not_listed_but_can_be_named(folder: Path) -> None:
    foreign = folder / "foreign.yaml"
    foreign.write_text("task: foreign\ndataset_path: csv\n", encoding="utf-8")
    assert "foreign" not in search_tasks([folder]).tasks
    assert find_task(str(foreign), ()).name == "foreign"


def test_names_and_paths(folder: Path) -> None:
    assert find_task("moods", [folder]).name == find_task(str(folder / "moods.yaml"), ()).name == "moods"
    assert find_task(str(folder / "moods.yaml"), [folder]).groups == ("moody", "short")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fin_fmoc", r"fin_fmoc: no such task.*fin_fomc"),
        ("none.yaml", r"none\.yaml: no such file"),
        ("fin", r"fin: no such task"),
    ],
)
def test_unknown_tasks(name: str, message: str, folder: Path) -> None:
    with pytest.raises(FinError, match=message):
        find_task(name, ())


def test_folders_and_files_that_are_not_tasks(folder: Path) -> None:
    with pytest.raises(FinError, match="nowhere: no such folder"):
        search_tasks([folder / "nowhere"])
    (folder / "group.yaml").write_text("group: g\ntask: [moods]\n", encoding="utf-8")
    with pytest.raises(FinError, match=r"group\.yaml: not a task .* group file"):
        find_task(str(folder / "group.yaml"), ())
    (folder / "broken.yaml").write_text("task: [\n", encoding="utf-8")
    with pytest.raises(FinError, match=r"broken\.yaml:2:1 .*fin task check"):
        find_task(str(folder / "broken.yaml"), ())
