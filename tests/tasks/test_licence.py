"""Whoever runs a task is shown the licence of its rows: once a data set, whatever the way to the loader."""

from pathlib import Path

import pytest
from tests.catalogue.making import moods

from fin_plugins.catalogue.prompt import load
from fin_plugins.tasks import licence


@pytest.fixture(autouse=True)
def nothing_shown_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(licence, "_shown", set())


def test_a_task_of_a_users_own_and_its_twin_show_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = moods(tmp_path)
    load(file, "moods")
    load(file.with_name("moods_gen.yaml"), "moods_gen")
    load(file, "moods")
    said = [line for line in capfd.readouterr().err.splitlines() if "licence" in line]
    assert len(said) == 1 and "moods" in said[0] and "Apache-2.0" in said[0] and "written for a test" in said[0]


def test_embedded_rows_are_not_those_of_the_data_set(
    sample_data: None, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fin_plugins.tasks.rows import load as load_rows

    card = {"rows": "fomc", "licence": "CC BY-NC 4.0", "source": "https://example.org"}
    load_rows(fin=dict(card), labels=["hawkish", "dovish", "neutral"])
    assert "CC BY-NC" not in capfd.readouterr().err


def test_of_many_processes_the_first_one_shows_it(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = {"licence": "CC0-1.0", "source": "a test"}
    monkeypatch.setenv("RANK", "1")
    licence.show_licence("mine", card)
    assert capfd.readouterr().err == ""
    monkeypatch.setenv("RANK", "0")
    licence.show_licence("mine", card)
    assert capfd.readouterr().err.count("CC0-1.0") == 1
