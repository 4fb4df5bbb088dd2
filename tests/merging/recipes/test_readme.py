"""The page on recipes and the recipes themselves say the same."""

import re

import pytest

from fin_plugins.common.bundled import MERGE_RECIPES
from tests.conftest import ROOT

PAGE = (ROOT / "merge_recipes" / "README.md").read_text(encoding="utf-8")
_ROW = re.compile(r"^\| `(\w[\w.]*)` \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)
ROWS = {row[1]: row for row in _ROW.finditer(PAGE)}
# A parameter that is told by the recipe that it is told of, or left to mergekit.
OF_ANOTHER = {"breadcrumbs_ties": "breadcrumbs"}


def test_every_recipe_has_a_row_and_no_row_is_of_none() -> None:
    assert set(ROWS) == set(MERGE_RECIPES.files())


@pytest.mark.parametrize("name", sorted(MERGE_RECIPES.files()))
def test_parameters_defaults_and_paper_are_those_of_the_recipe(name: str) -> None:
    text = MERGE_RECIPES.files()[name].read_text(encoding="utf-8")
    _, _, _, parameters, paper = ROWS[name].groups()
    told = ROWS[OF_ANOTHER[name]][4] if name in OF_ANOTHER else parameters
    for parameter, default in re.findall(r"\$\{(\w+)=([^}]+)\}", text):
        assert f"`{parameter}`" in told, parameter
        number = re.search(rf"`{parameter}` (\S+?)(,|$)", told)
        if number and default != "share":
            assert number[1] == default or float(number[1]) == float(default)
    numbers = re.findall(r"arXiv \d{4}\.\d{5}", paper)
    assert numbers == re.findall(r"arXiv \d{4}\.\d{5}", text)[: len(numbers)] or name.startswith("paper")


@pytest.mark.parametrize("name", sorted(MERGE_RECIPES.files()))
def test_how_exact_each_is_as_an_adapter_is_told(name: str) -> None:
    assert f"`{name}`" in PAGE.split("**As an adapter.**")[1].split("**What the error")[0]
