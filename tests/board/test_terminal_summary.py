"""The summary printed on a terminal."""

import json
from dataclasses import replace
from pathlib import Path

from fin_plugins.board.board_data import Board, Problem
from fin_plugins.board.terminal_summary import format_problems, format_summary, summary_json
from tests.board.boards import MODELS, board, hostile

RANKING = "mean weighted F1 in %"


def rankings(lines: list[str]) -> list[str]:
    return [line for line in lines if line.endswith(RANKING)]


def test_first_line_counts_what_was_read(full_board: Board) -> None:
    first = format_summary(full_board)[0]
    assert first.startswith("read: 4 models, 10 columns, 38 results, ")
    assert first.endswith("1 older result left out, 2 published rows")
    assert "1 of them without samples" in first


def test_rankings_begin_with_the_best_model(full_board: Board) -> None:
    lines = format_summary(full_board)
    start = lines.index(rankings(lines)[0])
    assert lines[start].startswith("seen data sets, label likelihood")
    means = {mean.model: mean for mean in full_board.means if (mean.protocol, mean.group) == ("choice", "seen")}
    best = max(MODELS, key=lambda model: means[model].figures["weighted_f1"].value)
    figure = means[best].figures["weighted_f1"]
    assert figure.low is not None and figure.high is not None
    assert lines[start + 1].split(None, 2)[:2] == ["1", "(1-2)"]
    assert f"{100 * figure.value:.1f} ({100 * figure.low:.1f} to {100 * figure.high:.1f})" in lines[start + 1]
    assert lines[start + 1].endswith(best)
    assert sum("generation" in line for line in rankings(lines)) == 3


def test_groups_of_the_same_data_sets_are_ranked_once(full_board: Board) -> None:
    ranks = tuple(rank for rank in full_board.ranks if rank.protocol == "choice" and rank.group != "seen")
    assert len(rankings(format_summary(replace(full_board, ranks=ranks)))) == 2
    unseen = next(mean.columns for mean in full_board.means if (mean.protocol, mean.group) == ("choice", "unseen"))
    means = tuple(replace(mean, columns=unseen) for mean in full_board.means)
    (line,) = rankings(format_summary(replace(full_board, ranks=ranks, means=means)))
    assert line.startswith("unseen data sets")


def test_long_rankings_are_cut() -> None:
    lines = format_summary(board(tuple(f"model {number}" for number in range(9)), ("fin_fpb", "fin_argument"), 20))
    assert lines.count("  and 4 more") >= 4


def test_ranks_without_interval_and_ranks_on_sample_rows(full_board: Board) -> None:
    rank = replace(full_board.ranks[0], metric="weighted_f1", low=None, high=None)
    columns = [replace(column, conditions=replace(column.conditions, data="sample")) for column in full_board.columns]
    lines = format_summary(replace(full_board, ranks=(rank,), columns=tuple(columns)))
    assert "embedded sample rows (no benchmark)" in lines[2]
    assert "(" not in lines[3].split("%")[0][:16]


def test_without_ranks_each_column_has_its_best_model(full_board: Board) -> None:
    lines = format_summary(replace(full_board, ranks=()))
    cells = [full_board.cells["fin_fpb", model] for model in MODELS]
    best = max(cells, key=lambda cell: cell.figures["weighted_f1"].value)
    assert lines[2].split()[0] == "fin_fpb" and lines[2].endswith(best.entry.model)


def test_names_cannot_control_the_terminal() -> None:
    assert all(line.isprintable() and len(line) < 200 for line in format_summary(hostile()))


def test_problems_are_one_line_each_errors_first() -> None:
    problems = [Problem("a.json", "gone", False), Problem("b.json", "wrong\nall over", True)]
    assert format_problems(problems) == ["error: b.json: wrong all over", "note: a.json: gone"]
    lines = format_problems([Problem(f"{number}.json", "gone", False) for number in range(30)])
    assert len(lines) == 21 and "10 more" in lines[-1]


def test_json(full_board: Board) -> None:
    content = json.loads(json.dumps(summary_json(full_board, [Path("out/index.html")])))
    assert content["files"] == ["out/index.html"] and len(content["columns"]) == len(full_board.columns)
    assert content["columns"][0]["models"] == list(MODELS) and len(content["ranks"]) == len(full_board.ranks)
    assert [problem["is_error"] for problem in content["problems"]] == [True, False]
