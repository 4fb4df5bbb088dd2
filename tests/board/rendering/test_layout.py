"""Tables, their order, and the published rows in them."""

from dataclasses import replace
from typing import Any

import pytest

from fin_plugins.board.board_data import METRICS, Board
from fin_plugins.board.rendering import layout
from fin_plugins.board.rendering.document_tables import latex_text, markdown_text
from fin_plugins.board.rendering.html_page import html_text
from fin_plugins.board.rendering.layout import (
    build_blocks,
    listed_contrasts,
    reader_contrasts,
    sort_value,
    unmatched_published,
)


def test_a_block_holds_one_protocol_on_one_kind_of_data(full_board: Board) -> None:
    built = build_blocks(full_board)
    assert [(block.data, block.protocol) for block in built] == [
        ("real", "choice"),
        ("real", "gen"),
        ("sample", "choice"),
    ]
    assert sorted(column.key for block in built for column in block.columns) == sorted(
        column.key for column in full_board.columns
    )
    assert all([table.metric for table in block.tables] == list(METRICS) for block in built)


def test_order_of_unknown_data(full_board: Board) -> None:
    renamed = {full_board.columns[0].key: "unknown", full_board.columns[2].key: "invented"}
    columns = tuple(
        replace(column, conditions=replace(column.conditions, data=renamed.get(column.key, column.conditions.data)))
        for column in full_board.columns
    )
    kinds = [block.data for block in build_blocks(replace(full_board, columns=columns, means=()))]
    assert kinds == ["real", "real", "unknown", "invented", "sample"]


def test_means_need_all_their_columns(full_board: Board) -> None:
    heads = [[head.group for head in block.tables[0].headers if head.group] for block in build_blocks(full_board)]
    assert heads == [["all", "seen", "unseen"], ["all", "seen", "unseen"], []]


def test_order_of_rows(full_board: Board) -> None:
    for block in build_blocks(full_board):
        for table in block.tables:
            values = [sort_value(row.cells[0]) for row in table.rows]
            assert values == sorted(values, reverse=True)
    partial = next(mean for mean in full_board.means if mean.missing)
    alone = replace(full_board, means=(partial,))
    first = build_blocks(alone)[1].tables[0].rows
    assert next(row for row in first if row.model == partial.model).cells[0].coverage == (1, 2)  # type: ignore[union-attr]


def test_published_figures_only_under_complete_real_columns(full_board: Board) -> None:
    for block in build_blocks(full_board):
        for table in block.tables:
            for row in table.published:
                columns_with_figures = [
                    head.column for head, figure in zip(table.headers, row.figures, strict=True) if figure is not None
                ]
                assert columns_with_figures and all(
                    column and column.task in row.published.figures for column in columns_with_figures
                )
                assert not any(
                    column.conditions.limit or column.conditions.data == "sample"
                    for column in columns_with_figures
                    if column
                )
    assert [len(table.published) for table in build_blocks(full_board)[0].tables] == [2, 2, 0, 0]
    zero = replace(full_board.published[0], figures={"fin_fpb": {"acc": 0.0}})
    assert build_blocks(replace(full_board, published=(zero,)))[0].tables[0].published[0].figures[3] == 0.0


def test_shared_notes_are_shown_once(full_board: Board) -> None:
    limited = full_board.columns[-1]
    assert layout.shared_notes(limited) == ("Only some rows: figures are not those of the whole test set.",)
    assert {column.key: remark for column, remark in build_blocks(full_board)[0].remarks}[limited.key].count(
        "Only some rows"
    ) == 1
    noted = replace(limited.entries[0], notes=(*limited.entries[0].notes, "Its own."))
    changed = replace(limited, entries=(noted, *limited.entries[1:]))
    cells = {
        **full_board.cells,
        (limited.key, noted.model): replace(full_board.cells[limited.key, noted.model], entry=noted),
    }
    table = build_blocks(replace(full_board, columns=(*full_board.columns[:-1], changed), cells=cells))[0].tables[0]
    notes = {row.model: row.cells[-1].notes for row in table.rows if row.cells[-1]}
    assert notes == {noted.model: ("Its own.",), limited.entries[1].model: ()}


def test_very_many_contrasts_are_cut_to_the_smallest_p(full_board: Board, monkeypatch: Any) -> None:
    assert listed_contrasts(full_board) == list(full_board.contrasts)
    monkeypatch.setattr(layout, "MAX_CONTRASTS", 5)
    listed = listed_contrasts(full_board)
    assert len(listed) == 5 and listed == [contrast for contrast in full_board.contrasts if contrast in listed]
    assert max(contrast.p for contrast in listed) <= min(
        contrast.p for contrast in full_board.contrasts if contrast not in listed
    )


def test_many_contrasts_are_cut_to_those_with_the_baseline(full_board: Board, monkeypatch: Any) -> None:
    assert full_board.forgetting and reader_contrasts(full_board) == list(full_board.contrasts)
    monkeypatch.setattr(layout, "MAX_READER_CONTRASTS", 1)
    ends = {full_board.forgetting[0].baseline, full_board.forgetting[0].reference}
    read = reader_contrasts(full_board)
    assert read == [contrast for contrast in full_board.contrasts if contrast.first in ends or contrast.second in ends]
    assert len(read) > 0
    assert reader_contrasts(replace(full_board, forgetting=())) == list(full_board.contrasts)


@pytest.fixture(scope="module")
def limited_board(full_board: Board) -> Board:
    columns = tuple(
        replace(column, conditions=replace(column.conditions, limit="200")) for column in full_board.columns
    )
    return replace(full_board, columns=columns)


def test_matched_published_rows_are_not_repeated(full_board: Board) -> None:
    assert unmatched_published(full_board) == ()
    assert "not run here" not in markdown_text(full_board)


def test_unmatched_published_rows_have_all_figures(limited_board: Board) -> None:
    tables = {table.metric: table for table in unmatched_published(limited_board)}
    assert list(tables) == ["acc", "weighted_f1"]
    for metric, table in tables.items():
        tasks = [head.title for head in table.headers]
        for row in table.published:
            figures = {task: figure for task, figure in zip(tasks, row.figures, strict=True) if figure is not None}
            stated = row.published.figures.items()
            assert figures == {task: figures[metric] for task, figures in stated if metric in figures}
        assert [row.published for row in table.published] == list(limited_board.published)


def test_every_file_shows_unmatched_published_rows(limited_board: Board) -> None:
    assert markdown_text(limited_board).count("*published:* `Paper-7B`") == 2
    assert latex_text(limited_board).count(r"\emph{Paper-7B}") == 2
    page = html_text(limited_board, files=(), with_documents=False)
    assert page.count('<em class="mark quiet">published</em> <bdi>Paper-7B</bdi>') == 2
    assert "No Macro F1 was published." in page
