"""A plan as a drawing and as Graphviz text."""

import re
import xml.etree.ElementTree as Tree
from itertools import pairwise
from pathlib import Path

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.experiments.dag import dot, draw, edges, places
from fin_plugins.experiments.steps import Plan
from tests.experiments.running.plans import diamond, step


def of_two_models(work: Path) -> Plan:
    steps = []
    for model in ("a", "b"):
        steps += [step(f"train-{model}-{n}") for n in range(3)]
        steps += [step(f"merge-{model}", [f"train-{model}-{n}" for n in range(3)], kind="merge")]
        steps += [step(f"score-{model}", [f"merge-{model}", f"train-{model}-0"], kind="score")]
    return Plan("zwei", work, tuple(steps))


def test_the_text_names_every_step_and_what_it_needs(tmp_path: Path) -> None:
    text = dot(diamond(tmp_path))
    assert re.findall(r'"(\w+)" -> "(\w+)"', text) == [
        ("first", "left"), ("first", "right"), ("left", "last"), ("right", "last")
    ]  # fmt: skip
    assert text.startswith("digraph plan {") and text.endswith("}\n")


def test_what_an_earlier_run_made_is_no_step(tmp_path: Path) -> None:
    plan = diamond(tmp_path)
    assert edges(Plan("demo", tmp_path, plan.steps[1:])) == [("left", "last"), ("right", "last")]


def test_boxes_stand_right_of_what_they_need_and_never_on_one_another(tmp_path: Path) -> None:
    plan = of_two_models(tmp_path)
    at = places(plan)
    assert all(at[before][0] < at[after][0] for before, after in edges(plan))
    for column in {x for x, _ in at.values()}:
        rows = sorted(y for x, y in at.values() if x == column)
        assert all(below - above > 0.99 for above, below in pairwise(rows))
    lowest = {model: [y for name, (_, y) in at.items() if f"-{model}" in name] for model in "ab"}
    assert max(lowest["a"]) + 1 < min(lowest["b"])  # each model by itself


def test_the_drawing_says_every_name_and_marks_what_is_done(tmp_path: Path) -> None:
    plan = of_two_models(tmp_path)
    for path in (*plan.steps[0].markers, *plan.steps[0].outputs):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    draw(plan, tmp_path / "plan.svg")
    said = [node.text for node in Tree.parse(tmp_path / "plan.svg").iter("{http://www.w3.org/2000/svg}text")]
    assert "✓ train-a-0" in said and "train-b-0" in said and "zwei: 10 steps, 1 done (✓)" in said
    before = (tmp_path / "plan.svg").read_bytes()
    draw(plan, tmp_path / "plan.svg")
    assert (tmp_path / "plan.svg").read_bytes() == before
    draw(plan, tmp_path / "plan.dot")
    assert (tmp_path / "plan.dot").read_text() == dot(plan)


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FinError, match=r"plan\.txt: should end in \.svg or \.dot, or be -"):
        draw(diamond(tmp_path), tmp_path / "plan.txt")
    (tmp_path / "file").touch()
    with pytest.raises(FinError, match="cannot be written"):
        draw(diamond(tmp_path), tmp_path / "file" / "plan.svg")
