"""Every seeded fault is reported with its rule, key and line, and nothing else is."""

import re
from pathlib import Path

import pytest

from fin_plugins.checks.model import Options
from fin_plugins.checks.rows import RULES
from tests.checks.rows.checking import FAULTS, byte_tokenizer, findings, word_tokenizer

FILES = sorted(path.name for path in FAULTS.glob("*.yaml"))
EXPECTED = re.compile(r"([DPT]\d\d) (\S+)(?: in (\S+))? line (\d+)")


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    words, one_a_byte = tmp_path_factory.mktemp("words"), tmp_path_factory.mktemp("bytes")
    return {"words": word_tokenizer(words), "bytes": byte_tokenizer(one_a_byte)}


def expected(name: str) -> list[tuple[str, str, str, int]]:
    first = (FAULTS / name).read_text(encoding="utf-8").split("\n")[0]
    found = EXPECTED.findall(first)
    assert first.startswith("# expect: ") and len(found) == first.count(" line "), first
    return sorted((file or name, int(line), key, code) for code, key, file, line in found)


def options(name: str, tokenizers: dict[str, Path]) -> Options:
    said = re.search(r"^# tokenizer: (\w+)(?: context=(\d+))?$", (FAULTS / name).read_text(), re.MULTILINE)
    if said is None:
        return Options()
    return Options(tokenizer=str(tokenizers[said[1]]), context=int(said[2]) if said[2] else None)


@pytest.mark.parametrize("name", FILES)
def test_exactly_the_seeded_faults_are_found(name, tokenizers, monkeypatch):
    monkeypatch.chdir(FAULTS)
    monkeypatch.setenv("FIN_DATA", "sample")
    found, note = findings(name, options(name, tokenizers))
    assert sorted((one.file, one.line, one.key, one.code) for one in found) == expected(name)
    assert note is None


def test_every_rule_has_a_fault():
    seeded = {code for name in FILES for _, _, _, code in expected(name)}
    assert seeded == {rule.code for rule in RULES}


def test_there_are_as_many_faults_as_promised():
    assert len(FILES) >= 25
