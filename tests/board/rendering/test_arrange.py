"""Which tables there are, in which order, and that no figure is lost or mixed."""

from dataclasses import replace
from typing import Any

from fin_plugins.board.model import METRICS, Board
from fin_plugins.board.rendering import arrange
from fin_plugins.board.rendering.arrange import blocks, contrasts_listed, contrasts_read, sort_value


def test_a_block_holds_one_protocol_on_one_kind_of_data(made: Board) -> None:
    found = blocks(made)
    assert [(block.data, block.protocol) for block in found] == [
        ("real", "choice"),
        ("real", "gen"),
        ("sample", "choice"),
    ]
    assert sorted(column.key for block in found for column in block.columns) == sorted(
        column.key for column in made.columns
    )
    assert all([table.metric for table in block.tables] == list(METRICS) for block in found)


def test_data_of_no_known_kind_stands_between_real_and_sample(made: Board) -> None:
    renamed = {made.columns[0].key: "unknown", made.columns[2].key: "invented"}
    columns = tuple(
        replace(one, conditions=replace(one.conditions, data=renamed.get(one.key, one.conditions.data)))
        for one in made.columns
    )
    kinds = [block.data for block in blocks(replace(made, columns=columns, means=()))]
    assert kinds == ["real", "real", "unknown", "invented", "sample"]


def test_means_stand_only_with_all_their_columns(made: Board) -> None:
    heads = [[head.group for head in block.tables[0].heads if head.group] for block in blocks(made)]
    assert heads == [["all", "seen", "unseen"], ["all", "seen", "unseen"], []]


def test_rows_fall_from_the_first_column_and_gaps_come_last(made: Board) -> None:
    for block in blocks(made):
        for table in block.tables:
            values = [sort_value(row.cells[0]) for row in table.rows]
            assert values == sorted(values, reverse=True)
    partial = next(mean for mean in made.means if mean.missing)
    alone = replace(made, means=(partial,))
    first = blocks(alone)[1].tables[0].rows
    assert next(row for row in first if row.model == partial.model).cells[0].lost == (1, 2)  # type: ignore[union-attr]


def test_published_figures_stand_under_whole_real_columns_only(made: Board) -> None:
    for block in blocks(made):
        for table in block.tables:
            for row in table.published:
                shown = [
                    head.column for head, figure in zip(table.heads, row.figures, strict=True) if figure is not None
                ]
                assert shown and all(one and one.task in row.published.figures for one in shown)
                assert not any(one.conditions.limit or one.conditions.data == "sample" for one in shown if one)
    assert [len(table.published) for table in blocks(made)[0].tables] == [2, 2, 0, 0]
    zero = replace(made.published[0], figures={"fin_fpb": {"acc": 0.0}})
    assert blocks(replace(made, published=(zero,)))[0].tables[0].published[0].figures[3] == 0.0


def test_what_all_entries_share_is_said_once(made: Board) -> None:
    cut = made.columns[-1]
    assert arrange.shared_notes(cut) == ("Only some rows: figures are not those of the whole test set.",)
    assert {column.key: said for column, said in blocks(made)[0].remarks}[cut.key].count("Only some rows") == 1
    own = replace(cut.entries[0], notes=(*cut.entries[0].notes, "Its own."))
    changed = replace(cut, entries=(own, *cut.entries[1:]))
    cells = {**made.cells, (cut.key, own.model): replace(made.cells[cut.key, own.model], entry=own)}
    table = blocks(replace(made, columns=(*made.columns[:-1], changed), cells=cells))[0].tables[0]
    notes = {row.model: row.cells[-1].notes for row in table.rows if row.cells[-1]}
    assert notes == {own.model: ("Its own.",), cut.entries[1].model: ()}


def test_very_many_contrasts_are_cut_to_the_smallest_p(made: Board, monkeypatch: Any) -> None:
    assert contrasts_listed(made) == list(made.contrasts)
    monkeypatch.setattr(arrange, "MOST_LISTED", 5)
    listed = contrasts_listed(made)
    assert len(listed) == 5 and listed == [one for one in made.contrasts if one in listed]
    assert max(one.p for one in listed) <= min(one.p for one in made.contrasts if one not in listed)


def test_of_many_contrasts_those_with_the_baseline_are_read(made: Board, monkeypatch: Any) -> None:
    assert made.forgetting and contrasts_read(made) == list(made.contrasts)
    monkeypatch.setattr(arrange, "MOST_READ", 1)
    ends = {made.forgetting[0].baseline, made.forgetting[0].reference}
    read = contrasts_read(made)
    assert read == [one for one in made.contrasts if one.first in ends or one.second in ends]
    assert len(read) > 0
    assert contrasts_read(replace(made, forgetting=())) == list(made.contrasts)
