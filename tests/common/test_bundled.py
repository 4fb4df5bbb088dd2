from pathlib import Path

import pytest

from fin_plugins.common.bundled import BundledConfigs, about
from fin_plugins.common.errors import FinError


@pytest.fixture
def bundled_soups(tmp_path: Path) -> BundledConfigs:
    (tmp_path / "soups").mkdir()
    (tmp_path / "soups" / "leek_1.5.yaml").write_text("# Leek and potato.\na: 1\n")
    return BundledConfigs("soup", lambda: tmp_path / "soups")


def test_files_are_found_by_name_or_path(bundled_soups: BundledConfigs, tmp_path: Path) -> None:
    user_file = tmp_path / "user.yaml"
    user_file.write_text("b: 2\n")
    assert (
        bundled_soups.find("leek_1.5") == bundled_soups.files()["leek_1.5"]
        and bundled_soups.find(str(user_file)) == user_file
    )
    with pytest.raises(FinError, match=r"leak_1.5: no such file or shipped soup \(did you mean leek_1.5\?\); shipped"):
        bundled_soups.find("leak_1.5")
    with pytest.raises(FinError, match="is a folder, not a file"):
        bundled_soups.find(str(tmp_path))
    with pytest.raises(FinError, match="no such file or shipped soup"):
        bundled_soups.find("x" * 5000)


def test_copies_never_overwrite_a_file(bundled_soups: BundledConfigs, tmp_path: Path) -> None:
    copied = bundled_soups.copy("leek_1.5", str(tmp_path))
    assert copied == tmp_path / "leek_1.5.yaml" and copied.read_text() == "# Leek and potato.\na: 1\n"
    copied.write_text("edited")
    with pytest.raises(FinError, match=r"leek_1.5.yaml.*exists"):
        bundled_soups.copy("leek_1.5", str(tmp_path))
    assert copied.read_text() == "edited"


def test_the_first_comment_describes_a_file(bundled_soups: BundledConfigs, tmp_path: Path) -> None:
    assert about(bundled_soups.find("leek_1.5")) == "Leek and potato."
    file = tmp_path / "typed.yaml"
    file.write_text("# yaml-language-server: $schema=x\n# With a schema.\n")
    assert about(file) == "With a schema."
