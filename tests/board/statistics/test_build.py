"""The whole board: the same from the same results, nothing lost on the way, wrong names refused."""

import pytest

from fin_plugins.board.model import Problem, Published, Reading
from fin_plugins.board.statistics import board_of
from tests.board.statistics.worlds import column, reading, shuffled, with_entries

SKILLS = {"base": 0.45, "multi": 0.7, "one": 0.6}


def columns():
    seen = [
        column(SKILLS, task, protocol=way, key=f"{task}_{way}")
        for task in ("fin_fpb", "fin_fomc")
        for way in ("choice", "gen")
    ]
    return (*seen, column(SKILLS, "fin_deal", seen=False, labels=2), column(SKILLS, "hellaswag", seen=None))


def test_the_same_results_give_the_same_board() -> None:
    asked = {"baseline": "base", "reference": "multi", "unseen": ["hellaswag"], "draws": 300}
    mixed = [with_entries(one, *(shuffled(entry) for entry in one.entries)) for one in columns()]
    one, again, other = (board_of(reading(*some), **asked) for some in (columns(), columns(), mixed))
    for part in ("means", "ranks", "contrasts", "forgetting", "problems", "made_with", "tests"):
        assert repr(getattr(one, part)) == repr(getattr(again, part)) == repr(getattr(other, part))
    assert {place: cell.figures for place, cell in one.cells.items()} == {
        place: cell.figures for place, cell in other.cells.items()
    }
    assert board_of(reading(*columns()), **asked, seed=2).means != one.means


def test_every_part_is_there() -> None:
    made = board_of(reading(*columns()), baseline="base", draws=100)
    assert len(made.cells) == 6 * 3 and made.tests == len(made.contrasts) == 6 * 3
    assert {(one.protocol, one.group) for one in made.means} == {
        *(("choice", group) for group in ("seen", "unseen", "all")),
        *(("gen", group) for group in ("seen", "all")),
    }
    assert {(one.protocol, one.model) for one in made.forgetting} == {
        (way, model) for way in ("choice", "gen") for model in ("multi", "one")
    }
    assert not any("hellaswag" in one.columns for one in made.means)
    assert made.made_with.keys() == {"fin-plugins", "numpy", "scipy", "draws", "seed"}


def test_what_was_read_is_passed_on() -> None:
    problem, row = (
        Problem("broken.json", "cut off", True),
        Published("P", "zero-shot", {"fin_fomc": {"acc": 0.5}}, "table 1"),
    )
    older = columns()[0].entries[:1]
    mixed = (
        column(SKILLS, "fin_fpb"),
        column(SKILLS, "fin_fomc"),
        column(SKILLS, "fin_deal", seen=False, data="sample"),
    )
    made = board_of(Reading(mixed, older, (problem,)), published=[row], draws=50)
    assert (made.columns, made.older, made.published) == (mixed, older, (row,))
    assert made.problems[0] is problem and "fin_deal" in made.problems[1].message and len(made.problems) == 2


def test_papers_rows_stand_beside_tasks_of_theirs_only() -> None:
    figures = {"fin_fpb": {"acc": 0.5}, "fin_deal": {"acc": 0.6}}
    rows = [Published("P", "zero-shot", figures, "table 1"), Published("Q", "tuned", {"fin_deal": {"acc": 1.0}}, "")]
    made = board_of(Reading((column(SKILLS, "fin_fpb"),), (), ()), published=rows, draws=50)
    assert [(one.model, one.figures) for one in made.published] == [("P", {"fin_fpb": {"acc": 0.5}})]
    cut_alike = Published("P", "tuned", {"fin_fpb_paper": {"acc": 0.5}}, "")
    assert board_of(Reading((column(SKILLS, "fin_fpb"),), (), ()), published=[cut_alike], draws=50).published
    own = board_of(Reading((column(SKILLS, "mood"),), (), ()), published=rows, draws=50)
    assert own.published == ()


def test_nothing_read_is_an_empty_board() -> None:
    made = board_of(Reading((), (), ()))
    assert (made.cells, made.means, made.contrasts, made.tests) == ({}, (), (), 0)


@pytest.mark.parametrize("wrong", [{"baseline": "bass"}, {"reference": "mult"}, {"unseen": ["hellaswags"]}])
def test_unknown_names_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match="not in what was read"):
        board_of(reading(*columns()), **wrong)
