"""No false alarm on the tasks that ship: with the embedded rows, with the real ones, with a real tokenizer."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from fin_plugins.checks.model import Options
from fin_plugins.checks.read import read_task_file
from fin_plugins.checks.rows.read import read
from fin_plugins.cli.main import fin
from fin_plugins.common.locations import task_folder
from tests.checks.rows.checking import findings

TASKS = sorted(map(str, (task_folder() / "fin").glob("fin_*.yaml")))


@pytest.fixture(scope="module")
def real(mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    words = ["data", "fetch", "--mirror", str(mirror)]
    done = CliRunner().invoke(fin, words, env={"FIN_DATA_DIR": str(folder), "FIN_DATA": None})
    assert done.exit_code == 0, done.output
    return folder


def test_the_embedded_rows(sample_data):
    assert len(TASKS) == 20
    assert {name: findings(name) for name in TASKS} == {name: ([], None) for name in TASKS}


def test_the_embedded_rows_were_looked_at(sample_data):
    for name in TASKS:
        file = read_task_file(Path(name), name).file
        assert file is not None
        rows = read(file).rows
        assert rows is not None
        assert all(split.documents for split in rows.splits.values())


def test_the_real_rows(real, monkeypatch):
    monkeypatch.setenv("FIN_DATA_DIR", str(real))
    monkeypatch.delenv("FIN_DATA", raising=False)
    assert {name: findings(name) for name in TASKS} == {name: ([], None) for name in TASKS}


def test_a_real_tokenizer(sample_data, demo_model_path):
    options = Options(tokenizer=str(demo_model_path))
    assert {name: findings(name, options) for name in TASKS} == {name: ([], None) for name in TASKS}


def test_rows_that_are_not_on_this_machine_are_noted(tmp_path, monkeypatch):
    monkeypatch.setenv("FIN_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("FIN_DATA", raising=False)
    found, note = findings(TASKS[0])
    assert found == []
    assert note is not None and "run `fin data fetch fin_argument`" in note
