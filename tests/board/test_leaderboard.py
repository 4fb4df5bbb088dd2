"""The committed board follows from its committed results, which contain no text of a data set."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from fin_plugins.cli.main import fin
from tests.conftest import ROOT

LEADERBOARD = ROOT / "leaderboard"


@pytest.mark.parametrize(
    ("board", "results"), [(".", ["results"]), ("seed_43", ["results/smollm2", "seed_43/results"])]
)
def test_committed_board_follows_from_its_results(tmp_path: Path, board: str, results: list[str]) -> None:
    words = ["board", *(str(LEADERBOARD / folder) for folder in results), "--out", str(tmp_path)]
    words += ["--baseline", "smollm2", "--reference", "multi"]
    invocation = CliRunner().invoke(fin, words)
    assert invocation.exit_code == 0, invocation.output
    # These round their figures; the last digits of the others may differ from machine to machine.
    for name in ("board.md", "board.tex"):
        assert (tmp_path / name).read_bytes() == (LEADERBOARD / board / name).read_bytes()


def test_answers_are_hashes_and_labels() -> None:
    files = sorted(LEADERBOARD.rglob("answers_*.csv"))
    assert files
    for file in files:
        header, *lines = file.read_text(encoding="utf-8").splitlines()
        assert header == "hash,gold,answer"
        assert all(re.fullmatch(r"[0-9a-f]{64}(#\d+)?,[\w /]+,[\w /()]+", line) for line in lines), file


def test_no_file_contains_a_local_path() -> None:
    for file in sorted(LEADERBOARD.rglob("*.*")):
        assert not re.search(r"/(root|home|tmp|Users)/", file.read_text(encoding="utf-8")), file
