"""One seeded fault a file: the checker finds it, with file, line and rule, and finds nothing else."""

from pathlib import Path

import pytest

from fin_plugins.checks.rules import static_rules
from tests.checks.seeing import seen, short

FOLDER = Path(__file__).parent / "faults"
FAULTS = sorted(file.name for file in FOLDER.glob("*.y*ml"))


def expected(file: str) -> set[str]:
    first = (FOLDER / file).read_bytes().split(b"\n")[0].decode()
    assert first.startswith("# expect: ")
    return set(first.removeprefix("# expect: ").split("; "))


@pytest.mark.parametrize("file", FAULTS)
def test_fault(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    found = seen(file)
    assert short(found) == expected(file)
    assert {one.file for one in found} == {file}
    assert all(one.column >= 1 and one.message and "\n" not in str(one) for one in found)


def test_there_are_many_and_every_rule_has_one() -> None:
    assert len(FAULTS) >= 60
    codes = {one.split()[0] for file in FAULTS for one in expected(file)}
    elsewhere = {"Y09", "N02", "M07", "G07"}  # test_read.py, test_static.py
    assert {rule.code for rule in static_rules()} - codes == elsewhere


def test_the_file_that_the_faults_are_made_of_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "news.csv").write_bytes((FOLDER / "news.csv").read_bytes())
    (tmp_path / "good_news.yaml").write_text("task: good_news\n" + (FOLDER / "_good").read_text())
    assert seen("good_news.yaml") == []
