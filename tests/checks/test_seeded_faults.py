"""Each seeded fault is found with its file, line and rule, and nothing else is; so are two faults in one file."""

import difflib
import itertools
import json
import random
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from fin_plugins.checks.findings import all_rules
from fin_plugins.checks.runner import CheckOptions
from fin_plugins.cli.main import fin
from tests.checks.check_helpers import (
    FAULTS,
    GOOD_TASK,
    ROW_FAULTS,
    STATIC_CODES,
    byte_tokenizer,
    row_findings,
    static_findings,
    summary,
    word_tokenizer,
    write,
)

STATIC_FILES = sorted(file.name for file in FAULTS.glob("*.y*ml"))
ROW_FILES = sorted(file.name for file in ROW_FAULTS.glob("*.yaml"))
EXPECTED_ROW_FINDING = re.compile(r"([DPT]\d\d) (\S+)(?: in (\S+))? line (\d+)")


def first_line(file: Path) -> str:
    line = file.read_bytes().split(b"\n")[0].decode()
    assert line.startswith("# expect: ")
    return line.removeprefix("# expect: ")


def expected_row_findings(name: str) -> list[tuple[str, int, str, str]]:
    """File, line, key and code of each finding that a row fault expects."""
    line = first_line(ROW_FAULTS / name)
    matches = EXPECTED_ROW_FINDING.findall(line)
    assert len(matches) == line.count(" line ")
    return sorted((file or name, int(number), key, code) for code, key, file, number in matches)


@pytest.mark.parametrize("name", STATIC_FILES)
def test_static_fault(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FAULTS)
    findings = static_findings(name)
    assert summary(findings) == set(first_line(FAULTS / name).split("; "))
    assert {finding.file for finding in findings} == {name}
    assert all(finding.column >= 1 and finding.message and "\n" not in str(finding) for finding in findings)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        "words": word_tokenizer(tmp_path_factory.mktemp("words")),
        "bytes": byte_tokenizer(tmp_path_factory.mktemp("bytes")),
    }


@pytest.mark.parametrize("name", ROW_FILES)
def test_row_fault(name: str, tokenizers: dict[str, Path], monkeypatch: pytest.MonkeyPatch, sample_data: None) -> None:
    monkeypatch.chdir(ROW_FAULTS)
    asked = re.search(r"^# tokenizer: (\w+)(?: context=(\d+))?$", (ROW_FAULTS / name).read_text(), re.MULTILINE)
    options = CheckOptions(str(tokenizers[asked[1]]), int(asked[2]) if asked[2] else None) if asked else None
    findings, note = row_findings(name, options)
    found = sorted((finding.file, finding.line, finding.key, finding.code) for finding in findings)
    assert found == expected_row_findings(name) and note is None


def test_all_row_faults_in_one_run(monkeypatch: pytest.MonkeyPatch, sample_data: None) -> None:
    monkeypatch.chdir(ROW_FAULTS)
    done = CliRunner().invoke(fin, ["task", "check", ".", "--format", "json"])
    found = {(item["file"], item["line"], item["key"], item["code"]) for item in json.loads(done.stdout)["findings"]}
    # A missing table is reported as a broken reference, and a label that begins another needs no tokenizer.
    static = {("file_missing.yaml", "F05"), ("file_test_missing.yaml", "F05"), ("token_prefix.yaml", "L04")}
    missing = {file for file, code in static if code == "F05"}
    expected = {item for name in ROW_FILES if name not in missing for item in expected_row_findings(name)}
    assert {item for item in found if item[3] not in STATIC_CODES} == {item for item in expected if item[3][0] != "T"}
    assert {(file, code) for file, _, _, code in found if code in STATIC_CODES} == static


def test_every_rule_has_a_seeded_fault() -> None:
    static = {item.split()[0] for name in STATIC_FILES for item in first_line(FAULTS / name).split("; ")}
    rows = {code for name in ROW_FILES for _, _, _, code in expected_row_findings(name)}
    elsewhere = {"Y09", "N02", "M07", "G07"}  # in test_task_file, test_task_names and test_metric_rules
    assert set(all_rules()) == static | rows | elsewhere


def test_the_good_task_has_no_fault(news_folder: Path) -> None:
    write("good_news.yaml", "task: good_news\n" + GOOD_TASK)
    assert static_findings("good_news.yaml") == []


GOOD_LINES = GOOD_TASK.splitlines()
DEPENDENT = ("f04_module.yaml", "k02_output_type.yaml")
"""Without our loader, or without a valid output type, the rules for such tasks do not apply."""
PARTNERS = 5
"""Number of other faults that each fault is paired with."""

Change = tuple[int, int, tuple[str, ...]]


def changes(name: str) -> list[Change]:
    """How a fault differs from the good task: start and end line, and the lines that replace them."""
    lines = (FAULTS / name).read_text(encoding="utf-8").splitlines()[2:]
    matcher = difflib.SequenceMatcher(None, GOOD_LINES[1:], lines, autojunk=False)
    return [(a, b, tuple(lines[c:d])) for tag, a, b, c, d in matcher.get_opcodes() if tag != "equal"]


def apply_changes(edits: list[Change]) -> str:
    lines = GOOD_LINES[1:]
    for start, end, new in sorted(edits, reverse=True):
        lines[start:end] = new
    return "task: pair_of_faults\n" + "\n".join(lines) + "\n"


def small_faults() -> dict[str, list[Change]]:
    """The changes of faulty tasks that differ from the good one in a few lines."""
    faults = {}
    for path in sorted(FAULTS.glob("[cflkms]*.yaml")):
        start = path.read_text(encoding="utf-8").splitlines()[1:3]
        if len(start) == 2 and start[0].startswith("task: ") and path.name not in DEPENDENT:
            edits = changes(path.name)
            if 0 < sum(b - a + len(new) for a, b, new in edits) <= 4:
                faults[path.name] = edits
    return faults


def are_disjoint(first: list[Change], second: list[Change]) -> bool:
    return all(b < c or d < a for a, b, _ in first for c, d, _ in second)


def test_each_of_two_faults_is_found_as_if_alone(news_folder: Path) -> None:
    (news_folder / "helpers.py").write_bytes((FAULTS / "helpers.py").read_bytes())

    def findings(edits: list[Change]) -> set[str]:
        return {f"{item.code} {item.key}" for item in static_findings(write("pair.yaml", apply_changes(edits)))}

    faults = small_faults()
    assert len(faults) >= 30
    alone = {name: findings(edits) for name, edits in faults.items()}
    assert all(alone.values())
    pairs = [(a, b) for a, b in itertools.combinations(faults, 2) if are_disjoint(faults[a], faults[b])]
    sample = random.Random(17).sample(pairs, PARTNERS * len(faults) // 2)
    hidden = {(a, b): (alone[a] | alone[b]) - findings(faults[a] + faults[b]) for a, b in sample}
    assert {pair: codes for pair, codes in hidden.items() if codes} == {}
