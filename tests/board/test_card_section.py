"""The evaluation section of a model card, parsed with the hub's library."""

from dataclasses import replace
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from fin_plugins.board.board_data import Board
from fin_plugins.board.card_section import format_card_section
from fin_plugins.common.errors import FinError
from tests.board.boards import board

TASKS = ("fin_fpb", "fin_argument")


@pytest.fixture(scope="module")
def card_board() -> Board:
    """Two tasks under both protocols on real rows, one more column of sample rows, one with a limit."""
    return board(tasks=TASKS)


def eval_results(text: str) -> Any:
    return yaml.safe_load(text.split("```yaml\n")[1].removesuffix("```\n"))


def test_model_index_as_the_hub_reads_it(card_board: Board) -> None:
    results = ModelCard(format_card_section(card_board, "multi-task")).data.eval_results
    assert results is not None and len(results) == 4 * 4  # columns and metrics
    by_place = {(result.dataset_config, result.metric_name): result for result in results}
    for key in ("fin_fpb", "fin_fpb_gen", "fin_argument", "fin_argument_gen"):
        figures = card_board.cells[key, "multi-task"].figures
        for metric, name in (("acc", "Accuracy"), ("weighted_f1", "Weighted F1"), ("mcc", "MCC")):
            assert by_place[key, f"{name} (%)"].metric_value == round(100 * figures[metric].value, 2)
    result = by_place["fin_fpb_gen", "Macro F1 (%)"]
    assert (result.task_type, result.dataset_type, result.dataset_split) == (
        "text-classification",
        "fin_fpb_gen",
        "test",
    )
    assert (result.metric_type, result.metric_args) == ("f1", {"average": "macro"})
    assert result.dataset_args == {"num_few_shot": 0, "chat_template": True, "task_version": "1.0"}


def test_eval_results_as_the_hub_reads_them(card_board: Board) -> None:
    text = format_card_section(card_board, "multi-task", benchmark="someone/finance")
    entries = {result.task_id: result for result in parse_eval_result_entries(eval_results(text))}
    assert set(entries) == {"fin_fpb", "fin_fpb_gen", "fin_argument", "fin_argument_gen"}
    result, figure = entries["fin_fpb"], card_board.cells["fin_fpb", "multi-task"].figures["weighted_f1"]
    assert (result.dataset_id, result.value, result.date) == (
        "someone/finance",
        round(100 * figure.value, 2),
        "2025-10-09",
    )
    assert figure.low is not None and result.notes is not None
    assert f"weighted F1 in %, 95 % interval {100 * figure.low:.1f} to" in result.notes
    assert "OWNER/BENCHMARK" not in text
    assert eval_results(format_card_section(card_board, "multi-task"))[0]["dataset"]["id"] == "OWNER/BENCHMARK"


def test_only_complete_runs_on_real_rows(card_board: Board) -> None:
    assert {column.key for column in card_board.columns} >= {"fin_fpb~2", "fin_argument~2"}
    assert "~2" not in format_card_section(card_board, "multi-task")
    unknown = [replace(column, conditions=replace(column.conditions, data="unknown")) for column in card_board.columns]
    with pytest.raises(FinError, match="base: no complete run on real data"):
        format_card_section(replace(card_board, columns=tuple(unknown)), "base")


def test_two_columns_of_a_task(card_board: Board) -> None:
    first = card_board.columns[0]
    second = replace(first, key="fin_fpb~3", explanation="With 5 examples.")
    cells = {**card_board.cells, ("fin_fpb~3", "base"): card_board.cells["fin_fpb", "base"]}
    text = format_card_section(replace(card_board, columns=(first, second), cells=cells), "base")
    results = ModelCard(text).data.eval_results
    assert results is not None and {result.dataset_config for result in results} == {"fin_fpb", "fin_fpb~3"}
    assert [result["dataset"]["task_id"] for result in eval_results(text)] == ["fin_fpb"]
    assert r"- fin\_fpb\~3: With 5 examples." in text


def test_the_table_has_intervals_floors_and_marks(card_board: Board) -> None:
    lines = format_card_section(card_board, "base").splitlines()
    row = next(line for line in lines if line.startswith("| `fin_fpb` |"))
    cell = card_board.cells["fin_fpb", "base"]
    figure = cell.figures["acc"]
    assert figure.low is not None and figure.high is not None
    figure_text = f"{100 * figure.value:.1f} ({100 * figure.low:.1f} to {100 * figure.high:.1f})"
    assert figure_text in row and row.endswith(f"| {100 * cell.floors['weighted_f1']:.1f} |")
    below = replace(cell, floor_sides={"acc": "at"})
    marked = format_card_section(replace(card_board, cells={**card_board.cells, ("fin_fpb", "base"): below}), "base")
    assert f"{figure_text} *" in marked and f"{figure_text} *" not in "\n".join(lines)


def test_without_samples_there_is_no_interval(card_board: Board) -> None:
    rows = [
        line
        for line in format_card_section(card_board, card_board.columns[3].entries[-1].model).splitlines()
        if "fin_argument_gen" in line
    ]
    (row,) = [line for line in rows if line.startswith("|")]
    assert "(" not in row and row.endswith("|  |")


def test_hostile_names_stay_names() -> None:
    names = ("- a: [b", "x\n---\n# Not a heading", "<b>|</b>")
    card_board = board(names, TASKS, 12)
    for name in names:
        assert yaml.safe_load(format_card_section(card_board, name).split("---\n")[1])["model-index"][0][
            "name"
        ] == " ".join(name.split())
        assert ModelCard(format_card_section(card_board, name)).data.eval_results is not None
