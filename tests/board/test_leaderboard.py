"""The committed boards follow from their committed answers, which contain no text of a data set."""

import re
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from fin_plugins.board.results_export import export_results
from fin_plugins.cli.main import fin
from tests.conftest import ROOT

LEADERBOARD = ROOT / "leaderboard"
BOARDS = [LEADERBOARD, LEADERBOARD / "seed_43"]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_committed_board_follows_from_its_answers(tmp_path: Path, board: Path) -> None:
    words = ["board", str(board / "answers.parquet"), "--out", str(tmp_path)]
    words += ["--baseline", "smollm2", "--reference", "multi"]
    invocation = CliRunner().invoke(fin, words)
    assert invocation.exit_code == 0, invocation.output
    # It rounds its figures; the last digits of the others may differ from machine to machine.
    assert (tmp_path / "board.md").read_bytes() == (board / "board.md").read_bytes()


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_answers_are_hashes_and_labels(board: Path) -> None:
    table = pq.read_table(board / "answers.parquet")
    assert table.column_names == ["run", "task", "document", "gold", "answer", "loglikelihoods"] and table.num_rows
    for name, pattern in [
        ("run", r"(results/)?\w+/results_[\dT.-]+\.json"),
        ("task", r"fin_\w+"),
        ("document", r"[0-9a-f]{64}(#\d+)?"),
        ("gold", r"[\w /]+"),
        ("answer", r"[\w /()]+"),
    ]:
        assert all(re.fullmatch(pattern, text) for text in pc.unique(table[name]).to_pylist()), name


def test_export_of_the_committed_answers_changes_nothing(tmp_path: Path) -> None:
    again = export_results([LEADERBOARD / "answers.parquet"], tmp_path, {})
    assert pq.read_table(again).equals(pq.read_table(LEADERBOARD / "answers.parquet"))
    assert pq.read_metadata(again).metadata == pq.read_metadata(LEADERBOARD / "answers.parquet").metadata


def test_no_file_contains_a_local_path() -> None:
    for file in sorted(LEADERBOARD.rglob("*.*")):
        # The metadata of a Parquet file is not compressed; `test_answers_are_hashes_and_labels` reads the rest.
        assert not re.search(rb"/(root|home|tmp|Users)/", file.read_bytes()), file
