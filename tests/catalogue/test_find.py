from pathlib import Path

import pytest

from fin_plugins.catalogue.find import find, search
from fin_plugins.common.errors import FinError
from fin_plugins.common.locations import task_folder
from tests.catalogue.making import moods


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of tasks that is not the working folder."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    moods(tmp_path / "mine")
    return tmp_path / "mine"


def test_every_shipped_task_is_found_with_its_groups() -> None:
    found = search(()).tasks
    assert set(found) >= {file.stem for file in task_folder().rglob("fin_*.yaml")}
    assert set(found["fin_fpb"].groups) == {"fin", "fin_seen", "fin_sentiment"}
    assert found["fin_causal_full"].groups == ()
    assert (found["fin_fpb"].protocol, found["fin_fpb_gen"].protocol) == ("choice", "gen")
    assert found["fin_fpb_gen"].fin == found["fin_fpb"].fin
    assert found["fin_fpb"].about.startswith("Sentiment of company news")


def test_own_tasks_in_a_folder_and_in_the_working_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "moods" not in search(()).tasks
    found = search([folder]).tasks["moods"]
    assert found.groups == ("moody", "short") and found.about == "Moods of short notes. Made for a test."
    monkeypatch.chdir(folder)
    assert {"moods", "moods_gen"} <= set(search(()).tasks)


def test_groups_in_groups_and_one_that_holds_itself(folder: Path) -> None:
    (folder / "all.yaml").write_text("group: all_moods\ntask:\n  - group: pair\n  - inner\n", encoding="utf-8")
    (folder / "inner.yaml").write_text("group: inner\ntask: [{task: moods}, inner, all_moods]\n", encoding="utf-8")
    assert search([folder]).tasks["moods"].groups == ("all_moods", "inner", "moody", "short")


def test_a_file_that_is_no_yaml_is_reported_and_the_rest_is_listed(folder: Path) -> None:
    (folder / "broken.yaml").write_text("task: [\n", encoding="utf-8")
    (folder / "other.yaml").write_text("port: 80\n", encoding="utf-8")
    found = search([folder])
    assert "moods" in found.tasks
    (line,) = found.problems
    assert "broken.yaml:2:1" in line and "fin task check" in line


def test_foreign_tasks_are_not_listed_but_can_be_named(folder: Path) -> None:
    foreign = folder / "foreign.yaml"
    foreign.write_text("task: foreign\ndataset_path: csv\n", encoding="utf-8")
    assert "foreign" not in search([folder]).tasks
    assert find(str(foreign), ()).name == "foreign"


def test_names_and_paths(folder: Path) -> None:
    assert find("moods", [folder]).name == find(str(folder / "moods.yaml"), ()).name == "moods"
    assert find(str(folder / "moods.yaml"), [folder]).groups == ("moody", "short")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("fin_fmoc", r"fin_fmoc: no such task \(did you mean fin_fomc\?\); `fin task list` lists them"),
        ("none.yaml", r"none\.yaml: no such file"),
        ("fin", r"fin: no such task"),
    ],
)
def test_what_is_not_there(asked: str, said: str, folder: Path) -> None:
    with pytest.raises(FinError, match=said):
        find(asked, ())


def test_no_folder_no_task_no_yaml(folder: Path) -> None:
    with pytest.raises(FinError, match="nowhere: no such folder"):
        search([folder / "nowhere"])
    (folder / "group.yaml").write_text("group: g\ntask: [moods]\n", encoding="utf-8")
    with pytest.raises(FinError, match=r"group\.yaml: no task \(`task: name`\) but a group file"):
        find(str(folder / "group.yaml"), ())
    (folder / "broken.yaml").write_text("task: [\n", encoding="utf-8")
    with pytest.raises(FinError, match=r"broken\.yaml:2:1 .*fin task check"):
        find(str(folder / "broken.yaml"), ())
