"""Dotted paths into cells that hold objects and lists, as JSON or as pandas writes them."""

import pandas as pd
import pytest

from fin_plugins.data.nested_cells import expand_objects, extract_path, first_leaf_path, max_list_length, nesting

CELLS = {
    "doc": ['{"body": {"en": "Sales rose"}, "v1.0": 2}', '{"body": {"en": "Sales fell"}}', ""],
    "risk": ['["high"]', '["low", "high"]', "[]"],
    "pandas": ["['high']", "['low']", "['low']"],
    "plain": ["{not} nested", "[1] see there", "x"],
}
FRAME = pd.DataFrame(CELLS, dtype=object)


@pytest.mark.parametrize(
    ("path", "cells"),
    [
        ("doc.body.en", ["Sales rose", "Sales fell", ""]),
        ("doc.v1.0", ["2", "", ""]),
        ("doc.body", ['{"en": "Sales rose"}', '{"en": "Sales fell"}', ""]),
        ("risk.0", ["high", "low", ""]),
        ("risk.1", ["", "high", ""]),
        ("pandas.0", ["high", "low", "low"]),
    ],
)
def test_paths(path: str, cells: list[str]) -> None:
    values = extract_path(FRAME, path)
    assert values is not None and list(values) == cells


@pytest.mark.parametrize("path", ["doc", "doc.title", "docs.body", "risk.2", "risk.-1", "plain.0", ".", "doc."])
def test_paths_without_a_value(path: str) -> None:
    assert extract_path(FRAME, path) is None


def test_objects_expand_to_columns() -> None:
    assert list(expand_objects(FRAME).columns) == ["doc.body.en", "doc.v1.0", "risk", "pandas", "plain"]
    assert [nesting(FRAME[name]) for name in FRAME] == ["objects", "lists", "lists", None]
    assert (first_leaf_path(FRAME["doc"], "doc"), first_leaf_path(FRAME["risk"], "risk")) == ("doc.body.en", "risk.0")
    assert max_list_length(FRAME["risk"]) == 2


def test_an_object_with_many_keys_stays_one_column() -> None:
    cells = ["{" + ", ".join(f'"key {number}": 1' for number in range(200)) + "}"]
    assert list(expand_objects(pd.DataFrame({"doc": cells}, dtype=object)).columns) == ["doc"]


@pytest.mark.parametrize("cell", ["[" * 100_000 + "]", "{" * 5000 + "}", "[1" + "0" * 6000 + "]", "[lambda: 0]"])
def test_extreme_cells_count_as_plain_text(cell: str) -> None:
    frame = pd.DataFrame({"doc": [cell]}, dtype=object)
    assert extract_path(frame, "doc.0.0") is None and list(expand_objects(frame).columns) == ["doc"]
