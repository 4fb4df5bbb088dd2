"""Papers' rows without a whole column beside them stand in tables of their own, once."""

from dataclasses import replace

import pytest

from fin_plugins.board.model import Board
from fin_plugins.board.rendering.latex import latex
from fin_plugins.board.rendering.markdown import markdown
from fin_plugins.board.rendering.page import page
from fin_plugins.board.rendering.published import published_apart


@pytest.fixture(scope="module")
def cut(made: Board) -> Board:
    columns = tuple(replace(one, conditions=replace(one.conditions, limit="200")) for one in made.columns)
    return replace(made, columns=columns)


def test_rows_that_stand_beside_ours_are_not_shown_twice(made: Board) -> None:
    assert published_apart(made) == ()
    assert "not run here" not in markdown(made)


def test_all_figures_are_there_where_every_column_is_cut(cut: Board) -> None:
    tables = {table.metric: table for table in published_apart(cut)}
    assert list(tables) == ["acc", "weighted_f1"]
    for metric, table in tables.items():
        tasks = [head.title for head in table.heads]
        for row in table.published:
            told = {task: figure for task, figure in zip(tasks, row.figures, strict=True) if figure is not None}
            stated = row.published.figures.items()
            assert told == {task: figures[metric] for task, figures in stated if metric in figures}
        assert [row.published for row in table.published] == list(cut.published)


def test_every_output_shows_them(cut: Board) -> None:
    assert markdown(cut).count("*published:* `Paper-7B`") == 2
    assert latex(cut).count(r"\emph{Paper-7B}") == 2
    shown = page(cut, files=(), with_documents=False)
    assert shown.count('<em class="mark quiet">published</em> <bdi>Paper-7B</bdi>') == 2
    assert "No Macro F1 was published." in shown
