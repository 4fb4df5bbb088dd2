"""The README of the recipes agrees with the recipes."""

import re

import pytest

from fin_plugins.common.bundled import MERGE_RECIPES
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "reference" / "recipes.md").read_text(encoding="utf-8")
_ROW = re.compile(r"^\| `(\w[\w.]*)` \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)
ROWS = {row[1]: row for row in _ROW.finditer(PAGE)}
# Recipes whose parameters are documented in the row of another.
DOCUMENTED_WITH = {"breadcrumbs_ties": "breadcrumbs"}


def test_every_recipe_has_a_row() -> None:
    assert set(ROWS) == set(MERGE_RECIPES.files())


@pytest.mark.parametrize("name", sorted(MERGE_RECIPES.files()))
def test_parameters_defaults_and_papers_agree(name: str) -> None:
    text = MERGE_RECIPES.files()[name].read_text(encoding="utf-8")
    _, _, _, parameters, paper = ROWS[name].groups()
    documented = ROWS[DOCUMENTED_WITH[name]][4] if name in DOCUMENTED_WITH else parameters
    for parameter, default in re.findall(r"\$\{(\w+)=([^}]+)\}", text):
        assert f"`{parameter}`" in documented, parameter
        number = re.search(rf"`{parameter}` (\S+?)(,|$)", documented)
        if number and default != "share":
            assert number[1] == default or float(number[1]) == float(default)
    numbers = re.findall(r"arXiv \d{4}\.\d{5}", paper)
    assert numbers == re.findall(r"arXiv \d{4}\.\d{5}", text)[: len(numbers)] or name.startswith("paper")


@pytest.mark.parametrize("name", sorted(MERGE_RECIPES.files()))
def test_the_error_as_an_adapter_is_documented(name: str) -> None:
    assert f"`{name}`" in PAGE.split("## As an adapter")[1].split("## The error figures")[0]
