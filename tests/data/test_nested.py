"""Dotted paths into cells that hold objects and lists, as JSON or as pandas writes them."""

import pandas as pd
import pytest

from fin_plugins.data.nested import first_path, inside, kind, longest_list, opened

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
    found = inside(FRAME, path)
    assert found is not None and list(found) == cells


@pytest.mark.parametrize("path", ["doc", "doc.title", "docs.body", "risk.2", "risk.-1", "plain.0", ".", "doc."])
def test_paths_that_lead_nowhere(path: str) -> None:
    assert inside(FRAME, path) is None


def test_objects_give_way_to_what_is_in_them() -> None:
    assert list(opened(FRAME).columns) == ["doc.body.en", "doc.v1.0", "risk", "pandas", "plain"]
    assert [kind(FRAME[name]) for name in FRAME] == ["objects", "lists", "lists", None]
    assert (first_path(FRAME["doc"], "doc"), first_path(FRAME["risk"], "risk")) == ("doc.body.en", "risk.0")
    assert longest_list(FRAME["risk"]) == 2


def test_an_object_of_many_names_stays_one_column() -> None:
    cells = ["{" + ", ".join(f'"key {number}": 1' for number in range(200)) + "}"]
    assert list(opened(pd.DataFrame({"doc": cells}, dtype=object)).columns) == ["doc"]


@pytest.mark.parametrize("cell", ["[" * 100_000 + "]", "{" * 5000 + "}", "[1" + "0" * 6000 + "]", "[lambda: 0]"])
def test_cells_that_nobody_would_write_are_plain(cell: str) -> None:
    frame = pd.DataFrame({"doc": [cell]}, dtype=object)
    assert inside(frame, "doc.0.0") is None and list(opened(frame).columns) == ["doc"]
