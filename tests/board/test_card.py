"""The evaluation section of a model card, read back with the hub's own library."""

from dataclasses import replace
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from fin_plugins.board.card import card
from fin_plugins.board.model import Board
from fin_plugins.common.errors import FinError
from tests.board.boards import board

TASKS = ("fin_fpb", "fin_argument")


@pytest.fixture(scope="module")
def made() -> Board:
    """Two tasks by both protocols on real rows, one more column of sample rows, one with a limit."""
    return board(tasks=TASKS)


def eval_results(text: str) -> Any:
    return yaml.safe_load(text.split("```yaml\n")[1].removesuffix("```\n"))


def test_model_index_as_the_hub_reads_it(made: Board) -> None:
    found = ModelCard(card(made, "multi-task")).data.eval_results
    assert found is not None and len(found) == 4 * 4  # columns and metrics
    by_place = {(one.dataset_config, one.metric_name): one for one in found}
    for key in ("fin_fpb", "fin_fpb_gen", "fin_argument", "fin_argument_gen"):
        figures = made.cells[key, "multi-task"].figures
        for metric, name in (("acc", "Accuracy"), ("weighted_f1", "Weighted F1"), ("mcc", "MCC")):
            assert by_place[key, f"{name} (%)"].metric_value == round(100 * figures[metric].value, 2)
    one = by_place["fin_fpb_gen", "Macro F1 (%)"]
    assert (one.task_type, one.dataset_type, one.dataset_split) == ("text-classification", "fin_fpb_gen", "test")
    assert (one.metric_type, one.metric_args) == ("f1", {"average": "macro"})
    assert one.dataset_args == {"num_few_shot": 0, "chat_template": True, "task_version": "1.0"}


def test_eval_results_as_the_hub_reads_them(made: Board) -> None:
    text = card(made, "multi-task", benchmark="someone/finance")
    entries = {one.task_id: one for one in parse_eval_result_entries(eval_results(text))}
    assert set(entries) == {"fin_fpb", "fin_fpb_gen", "fin_argument", "fin_argument_gen"}
    one, figure = entries["fin_fpb"], made.cells["fin_fpb", "multi-task"].figures["weighted_f1"]
    assert (one.dataset_id, one.value, one.date) == ("someone/finance", round(100 * figure.value, 2), "2025-10-09")
    assert figure.low is not None and one.notes is not None
    assert f"weighted F1 in %, 95 % interval {100 * figure.low:.1f} to" in one.notes
    assert "OWNER/BENCHMARK" not in text
    assert eval_results(card(made, "multi-task"))[0]["dataset"]["id"] == "OWNER/BENCHMARK"


def test_only_whole_runs_on_real_rows(made: Board) -> None:
    assert {column.key for column in made.columns} >= {"fin_fpb~2", "fin_argument~2"}
    assert "~2" not in card(made, "multi-task")
    unknown = [replace(one, conditions=replace(one.conditions, data="unknown")) for one in made.columns]
    with pytest.raises(FinError, match="base: no whole run on real data"):
        card(replace(made, columns=tuple(unknown)), "base")


def test_two_columns_of_a_task_are_two_results_and_one_of_the_newer_form(made: Board) -> None:
    first = made.columns[0]
    second = replace(first, key="fin_fpb~3", explanation="With 5 examples.")
    cells = {**made.cells, ("fin_fpb~3", "base"): made.cells["fin_fpb", "base"]}
    text = card(replace(made, columns=(first, second), cells=cells), "base")
    results = ModelCard(text).data.eval_results
    assert results is not None and {one.dataset_config for one in results} == {"fin_fpb", "fin_fpb~3"}
    assert [one["dataset"]["task_id"] for one in eval_results(text)] == ["fin_fpb"]
    assert "- fin_fpb~3: With 5 examples." in text


def test_the_table_has_intervals_floors_and_marks(made: Board) -> None:
    lines = card(made, "base").splitlines()
    row = next(line for line in lines if line.startswith("| fin_fpb |"))
    cell = made.cells["fin_fpb", "base"]
    figure = cell.figures["acc"]
    assert figure.low is not None and figure.high is not None
    shown = f"{100 * figure.value:.1f} ({100 * figure.low:.1f} to {100 * figure.high:.1f})"
    assert shown in row and row.endswith(f"| {100 * cell.floors['weighted_f1']:.1f} |")
    below = replace(cell, not_above={"acc": "at"})
    marked = card(replace(made, cells={**made.cells, ("fin_fpb", "base"): below}), "base")
    assert f"{shown} *" in marked and f"{shown} *" not in "\n".join(lines)


def test_without_samples_there_is_no_interval(made: Board) -> None:
    rows = [line for line in card(made, made.columns[3].entries[-1].model).splitlines() if "fin_argument_gen" in line]
    (row,) = [line for line in rows if line.startswith("|")]
    assert "(" not in row and row.endswith("|  |")


def test_hostile_names_stay_names() -> None:
    names = ("- a: [b", "x\n---\n# Not a heading", "<b>|</b>")
    made = board(names, TASKS, 12)
    for name in names:
        assert yaml.safe_load(card(made, name).split("---\n")[1])["model-index"][0]["name"] == " ".join(name.split())
        assert ModelCard(card(made, name)).data.eval_results is not None
