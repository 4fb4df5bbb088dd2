"""The faults through `fin task check`, all files in one run."""

import json

import pytest
from click.testing import CliRunner

from fin_plugins.cli.main import fin
from tests.checks.rows.checking import FAULTS
from tests.checks.rows.test_faults import FILES, expected

# A table that is not there is a broken reference, and one label that begins another needs no tokenizer to be seen.
STATIC = {("file_missing.yaml", "F05"), ("file_test_missing.yaml", "F05"), ("token_prefix.yaml", "L04")}


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch, sample_data: None) -> list[dict]:
    monkeypatch.chdir(FAULTS)
    result = CliRunner().invoke(fin, ["task", "check", ".", "--format", "json"])
    assert result.exit_code == 1, result.output
    return json.loads(result.stdout)["findings"]


def test_the_faults_and_nothing_else(found):
    missing = {file for file, code in STATIC if code == "F05"}
    seeded = {one for name in FILES if name not in missing for one in expected(name) if one[3][0] != "T"}
    said = {(one["file"], one["line"], one["key"], one["code"]) for one in found}
    assert {one for one in said if one[3][0] in "DPT"} == seeded
    assert {(file, code) for file, _, _, code in said if code[0] not in "DPT"} == STATIC
