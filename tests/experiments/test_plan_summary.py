"""A plan as text, as JSON and as a graph."""

import json
import re
from pathlib import Path

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.experiments.plan_summary import dependencies, format_plan, graphviz_graph, mermaid_graph, write_graph
from fin_plugins.experiments.step_plan import Plan
from tests.experiments.experiment_factories import ExperimentFolder
from tests.experiments.plan_factories import complete, diamond

EDGES = [("first", "left"), ("first", "right"), ("left", "last"), ("right", "last")]


def test_text_and_json(folder: ExperimentFolder) -> None:
    plan = folder.plan()
    folder.finish(plan.steps[:1])
    text = format_plan(plan, commands=True)
    assert text.startswith(f"test: 7 of 8 steps to do, in {folder.work}")
    (train_row,) = [line.split() for line in text.splitlines() if line.startswith("train ")]
    assert train_row[1:4] == ["2", "1", "0"]
    assert "        done  train-m-head" in text and "* rough" in text
    assert "fin train" in text and "fin train" not in format_plan(plan)
    assert "2 cores" not in format_plan(plan).splitlines()[-3] and "side by side on 2 cores" in format_plan(
        plan, cores=2
    )
    data = json.loads(format_plan(plan, as_json=True))
    assert (data["to_do"], data["engines"], len(data["steps"])) == (7, 2, 8)
    assert data["steps"][0]["done"] and data["steps"][-1]["command"][:2] == ["fin", "board"]


def test_notes_about_models_that_are_not_here(folder: ExperimentFolder) -> None:
    text = format_plan(folder.plan(models={"m": "org/not-here"}, resources={"train": {"hours": 3}}))
    assert "< upper bound" in text and "not on this machine" in text


def test_graphs_have_every_step_and_dependency(tmp_path: Path) -> None:
    plan = diamond(tmp_path)
    assert re.findall(r'"(\w+)" -> "(\w+)"', graphviz_graph(plan)) == EDGES
    mermaid = mermaid_graph(plan)
    names = dict(re.findall(r'(s\d+)\["(\w+)"\]', mermaid))
    assert [(names[earlier], names[later]) for earlier, later in re.findall(r"(s\d+) --> (s\d+)", mermaid)] == EDGES


def test_results_of_earlier_runs_have_no_step(tmp_path: Path) -> None:
    plan = diamond(tmp_path)
    assert dependencies(Plan("demo", tmp_path, plan.steps[1:])) == EDGES[2:]


def test_complete_steps_are_marked(tmp_path: Path) -> None:
    plan = diamond(tmp_path)
    complete(Plan("demo", tmp_path, plan.steps[:1]))
    for graph in (graphviz_graph(plan), mermaid_graph(plan)):
        assert '"✓ first"' in graph and '"✓ left"' not in graph


def test_graph_files(tmp_path: Path) -> None:
    plan = diamond(tmp_path)
    write_graph(plan, tmp_path / "plan.dot")
    write_graph(plan, tmp_path / "plan.mmd")
    assert (tmp_path / "plan.dot").read_text() == graphviz_graph(plan)
    assert (tmp_path / "plan.mmd").read_text() == mermaid_graph(plan)


def test_svg_is_drawn_by_graphviz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    program = tmp_path / "dot"
    program.write_text('#!/bin/sh\n[ "$1" = -Tsvg ] && echo "<svg>" && cat\n')
    program.chmod(0o755)
    write_graph(diamond(tmp_path), tmp_path / "plan.svg")
    assert (tmp_path / "plan.svg").read_text() == "<svg>\n" + graphviz_graph(diamond(tmp_path))
    program.write_text("#!/bin/sh\necho 'no such layout' >&2; exit 1\n")
    with pytest.raises(FinError, match="no such layout"):
        write_graph(diamond(tmp_path), tmp_path / "plan.svg")


def test_graphs_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "file").touch()
    for name, message in (("plan.svg", "Graphviz"), ("plan.txt", r"\.mmd.*\.dot.*\.svg"), ("file/plan.dot", "written")):
        with pytest.raises(FinError, match=rf"{name}: .*{message}"):
            write_graph(diamond(tmp_path), tmp_path / name)
