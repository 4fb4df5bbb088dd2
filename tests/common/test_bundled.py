from pathlib import Path

import pytest

from fin_plugins.common.bundled import BundledConfigs, about
from fin_plugins.common.errors import FinError


@pytest.fixture
def soups(tmp_path: Path) -> BundledConfigs:
    (tmp_path / "soups").mkdir()
    (tmp_path / "soups" / "leek_1.5.yaml").write_text("# Leek and potato.\na: 1\n")
    return BundledConfigs("soup", lambda: tmp_path / "soups")


def test_found_by_name_or_by_path(soups: BundledConfigs, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("b: 2\n")
    assert soups.find("leek_1.5") == soups.files()["leek_1.5"] and soups.find(str(own)) == own
    with pytest.raises(FinError, match=r"leak_1.5: no such file or shipped soup \(did you mean leek_1.5\?\); shipped"):
        soups.find("leak_1.5")
    with pytest.raises(FinError, match="is a folder, not a file"):
        soups.find(str(tmp_path))
    with pytest.raises(FinError, match="no such file or shipped soup"):
        soups.find("x" * 5000)


def test_copied_and_never_over_another(soups: BundledConfigs, tmp_path: Path) -> None:
    copied = soups.copy("leek_1.5", str(tmp_path))
    assert copied == tmp_path / "leek_1.5.yaml" and copied.read_text() == "# Leek and potato.\na: 1\n"
    copied.write_text("mine")
    with pytest.raises(FinError, match="is there already, and is left alone"):
        soups.copy("leek_1.5", str(tmp_path))
    assert copied.read_text() == "mine"


def test_what_a_file_says_of_itself(soups: BundledConfigs, tmp_path: Path) -> None:
    assert about(soups.find("leek_1.5")) == "Leek and potato."
    file = tmp_path / "typed.yaml"
    file.write_text("# yaml-language-server: $schema=x\n# With a schema.\n")
    assert about(file) == "With a schema."
