"""`fin data`, as typed."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from fin_plugins.cli.data import command
from fin_plugins.common.errors import FinError
from fin_plugins.data.dataset_rows import read_rows
from tests.data.conftest import REPO


def fin_data(*words):
    return CliRunner().invoke(command, [str(word) for word in words])


def test_fetch_shows_licence_and_address_and_goes_on_where_it_stopped(small_deal, copies):
    first, again = (fin_data("fetch", "fin_deal", "--mirror", copies) for _ in range(2))
    assert first.exit_code == again.exit_code == 0
    assert "fin_deal: licence as stated upstream: none; from https://example.org" in first.stderr
    assert "fetched: owner" in first.stderr and "already there: owner" in again.stderr
    assert "fin_deal: built: test 10" in first.stderr and "fin_deal: already built" in again.stderr
    # These synthetic rows differ from those of the card.
    assert "WARNING: rows differ from the data card" in first.stderr


def test_fetch_from_a_server(small_deal, copies, serve):
    serve(copies)
    assert fin_data("fetch").exit_code == 0
    assert len(read_rows("deal").splits["test"]) == 10


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("fetch", "deal", "--mirror", "/no/such/folder"), "/no/such/folder"),
        (("fetch", "fin_deel"), "did you mean fin_deal"),
        (("show", "deal"), "`fin data fetch fin_deal`"),
        (("leaks", "deal"), "`fin data fetch fin_deal`"),
    ],
)
def test_errors_are_for_people(small_deal, words, message):
    error = fin_data(*words).exception
    assert isinstance(error, FinError) and message in str(error) and "\n" not in str(error)


def test_a_data_folder_that_cannot_be_written(small_deal, copies, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FIN_DATA_DIR", str(tmp_path / "file" / "data"))
    error = fin_data("fetch", "--mirror", copies).exception
    assert isinstance(error, FinError) and "file/data" in str(error)


def test_status_before_and_after(small_deal, copies):
    assert "fin_deal: not fetched · none" in fin_data("status").stdout
    fin_data("fetch", "--mirror", copies)
    state = json.loads(fin_data("status", "--json").stdout)["data_sets"]["fin_deal"]
    assert state["rows"] == {"test": 10} and len(state["hashes"]["test"]) == 64 and state["licence"] == "none"
    assert "test           10 rows" in fin_data("status").stdout


def test_show(small_deal, copies):
    fin_data("fetch", "--mirror", copies)
    assert fin_data("show", "deal", "-n", 3).stdout.count("deal number") == 3
    row = json.loads(fin_data("show", "deal", "-n", 1, "--json").stdout)
    assert sorted(row) == ["id", "label", "text"]
    error = fin_data("show", "deal", "--split", "train").exception
    assert isinstance(error, FinError) and "train" in str(error) and "test, fewshot" in str(error)


def test_show_says_that_rows_are_embedded(monkeypatch):
    monkeypatch.setenv("FIN_DATA", "sample")
    shown = fin_data("show", "fin_finred", "--split", "train", "-n", 2)
    assert "embedded sample rows" in shown.stderr and shown.stdout.count("→") == 2


def test_leaks(small_deal, copies):
    fin_data("fetch", "--mirror", copies)
    assert "no rows to learn from" in fin_data("leaks").stdout
    assert json.loads(fin_data("leaks", "deal", "--json").stdout)["fin_deal"]["exact_before"] == 0


def test_help_has_examples_on_their_own_lines():
    for words in ((), ("fetch",), ("status",), ("show",), ("leaks",), ("card",)):
        shown = fin_data(*words, "--help").stdout
        assert "\n    fin data " in shown or "\n    FIN_DATA" in shown, words


def test_two_fetches_at_once_on_real_files(mirror, folder):
    script = "from fin_plugins.cli.data import command; command()"
    words = [sys.executable, "-c", script, "fetch", "fiqa", "--mirror", str(mirror)]
    environment = {**os.environ, "PYTHONPATH": str(REPO / "src")}
    both = [subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert "WARNING" not in "".join(errors)
    assert len(read_rows("fiqa").splits["test"]) == 235
    assert not list(folder.rglob("*.part"))


def test_status_of_one_data_set_by_its_name_and_its_task():
    for name in ("fin_fomc", "fomc"):
        assert list(json.loads(fin_data("status", name, "--json").stdout)["data_sets"]) == ["fin_fomc"]
    assert "did you mean fin_fomc" in str(fin_data("status", "fin_fomcc").exception)


def test_the_card_of_a_data_set_is_printed():
    shown = fin_data("card", "fin_fomc").stdout
    for fact in ("fin_fomc", "CC BY-NC 4.0", "gtfintechlab", "hawkish 122", "49.4%", "exact 14 → 0, near 8 → 9"):
        assert fact in shown, fact
    assert json.loads(fin_data("card", "fin_fomc", "--json").stdout)["fin_fomc"]["floor"]["label"] == "neutral"
    assert fin_data("card").stdout.count("licence") >= 10


def test_a_missing_mirror_is_reported_first(small_deal):
    done = fin_data("fetch", "--mirror", "/no/such/folder")
    assert "/no/such/folder" in str(done.exception) and done.stderr == ""


def test_an_increase_of_near_duplicates_is_explained(monkeypatch):
    from fin_plugins.data import builders, decontamination, download

    note = decontamination.NEAR_INCREASE_NOTE
    monkeypatch.setattr(download, "require_raw", lambda dataset: None)
    monkeypatch.setattr(builders, "build_splits", lambda dataset, folder: ({}, {}))
    for near_after, explained in ((2, True), (1, False)):
        counts = decontamination.LeakCounts("train", 10, 3, 0, 1, near_after)
        monkeypatch.setattr(decontamination, "count_leaks", lambda before, after, counts=counts: counts)
        printed = fin_data("leaks", "fomc").stdout
        assert f"near 1 → {near_after}" in printed and (note in printed) == explained
