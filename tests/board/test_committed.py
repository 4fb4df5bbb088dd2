"""The committed board is what its committed results give, and holds no text of a data set."""

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
def test_it_can_be_made_again(tmp_path: Path, board: str, results: list[str]) -> None:
    words = ["board", *(str(LEADERBOARD / folder) for folder in results), "--out", str(tmp_path)]
    words += ["--baseline", "smollm2", "--reference", "multi"]
    done = CliRunner().invoke(fin, words)
    assert done.exit_code == 0, done.output
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


@pytest.mark.parametrize("file", sorted(LEADERBOARD.rglob("*.*")), ids=lambda file: file.name)
def test_no_path_of_a_machine(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert not re.search(r"/(root|home|tmp|Users)/", text)
