"""The bundled data sets: pins, names, facts from the task files."""

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.data.sources import SourceFile, datasets, find


def test_pins_are_well_formed_and_public():
    for dataset in datasets().values():
        assert dataset.sources and dataset.licence and dataset.upstream.startswith("https://github.com/")
        for source in dataset.sources:
            assert len(source.commit) == 40 and len(source.sha256) == 64 and source.bytes > 0
            assert source.url.startswith("https://raw.githubusercontent.com/" + source.path.split("/")[0])


def test_names_with_and_without_prefix_and_a_typo():
    assert find("fin_finred").key == find("finred").key == "finred"
    with pytest.raises(FinError, match=r"fin_fomcc.*did you mean fin_fomc\?"):
        find("fin_fomcc")


def test_base_url_can_be_set(monkeypatch):
    monkeypatch.setenv("FIN_DATA_BASE_URL", "http://localhost:1/x/")
    assert SourceFile("a/b/c/d e.txt", "", 0).url == "http://localhost:1/x/a/b/c/d%20e.txt"


def test_facts_come_from_the_task_file():
    fomc = find("fomc")
    assert (fomc.seen, fomc.licence, fomc.upstream) == (
        True,
        "CC BY-NC 4.0",
        "https://github.com/gtfintechlab/fomc-hawkish-dovish",
    )
    assert fomc.citation.startswith("Shah, Paturi, Chava (2023)") and "http" not in fomc.citation
