"""Gained and lost, against the formulas of docs/statistics.md worked out by hand."""

import pytest

from fin_plugins.board.model import Column, Estimate, Forgetting
from fin_plugins.board.statistics.forgetting import forgetting_of
from fin_plugins.board.statistics.sides import sides_of
from fin_plugins.stats.paired import compare
from tests.board.statistics.worlds import column, draw, mended, with_entries

BASE = {"base": 0.45, "multi": 0.7, "one": 0.6}
SEEN = ("fin_fpb", "fin_fomc")
UNSEEN = ("fin_argument", "fin_deal")


def world(skills=BASE, unseen=BASE, **changed: Column) -> dict[str, Column]:
    made = {task: column(skills, task) for task in SEEN}
    made |= {task: column(unseen, task, seen=False, labels=2) for task in UNSEEN}
    return made | changed


def told(columns: dict[str, Column], named=(), reference: str | None = "multi", protocol="choice"):
    """Forgetting by model, and the sides."""
    drawn = {name: draw(one) for name, one in columns.items()}
    of_means = [one for one in drawn.values() if one.column.seen is not None and one.column.protocol == protocol]
    sides, problems = sides_of(list(drawn.values()), of_means, protocol, "base", named)
    found = forgetting_of(sides, protocol, "base", reference)
    return {one.model: one for one in found}, sides, problems


def value(columns: dict[str, Column], task: str, model: str, metric: str = "weighted_f1") -> float:
    return draw(columns[task]).figures(model).estimate(metric).value


def test_the_formulas() -> None:
    columns = world()
    found, sides, problems = told(columns)
    assert list(found) == ["multi", "one"] and problems == [] and sides.metric == "weighted_f1"
    for model, one in found.items():
        change = {task: value(columns, task, model) - value(columns, task, "base") for task in columns}
        assert {key: each.value for key, each in one.unseen.items()} == pytest.approx({t: change[t] for t in UNSEEN})
        assert one.worst == min(UNSEEN, key=change.__getitem__)
        gain = sum(change[task] for task in SEEN) / 2
        assert one.seen_gain.value == pytest.approx(gain)
        assert one.backward.value == pytest.approx(sum(change[task] for task in UNSEEN) / 2)
        assert one.kept.value == pytest.approx(gain / found["multi"].seen_gain.value)
        for figure in (one.seen_gain, one.backward, *one.unseen.values()):
            assert figure.low < figure.value < figure.high
    assert found["multi"].kept == Estimate(1.0, pytest.approx(1.0, abs=1e-6), pytest.approx(1.0, abs=1e-6))
    assert found["one"].kept.low < found["one"].kept.value < found["one"].kept.high


def test_changes_are_paired() -> None:
    """Ten of 200 documents more: far less than the figures' own intervals, but of a pair it is sure."""
    columns = world(fin_deal=column({"base": 0.45}, "fin_deal", seen=False, labels=2))
    base = columns["fin_deal"].entries[0]
    columns["fin_deal"] = with_entries(columns["fin_deal"], base, mended(base, "one", 10))
    shown = told(columns)[0]["one"].unseen["fin_deal"]
    before, after = ([*one.documents.answers] for one in columns["fin_deal"].entries)
    expected = compare([*base.documents.gold], before, after, 2)
    assert (shown.low, shown.high) == pytest.approx((expected.low.weighted_f1, expected.high.weighted_f1), abs=0.01)
    assert 0 < shown.low < 0.05 < shown.high < 0.1


@pytest.mark.parametrize("multi", [0.45, 0.3, 0.48])
def test_a_share_of_a_gain_that_may_be_none_is_not_told(multi: float) -> None:
    found = told(world({"base": 0.45, "multi": multi, "one": 0.6}))[0]
    assert found["one"].kept is None and found["one"].seen_gain is not None
    assert told(world(), reference=None)[0]["one"].kept is None


def test_a_model_that_lacks_a_column_has_no_mean_change() -> None:
    some = {name: skill for name, skill in BASE.items() if name != "one"}
    found = told(world(fin_fomc=column(some, "fin_fomc"), fin_deal=column(some, "fin_deal", seen=False)))[0]
    assert found["one"].seen_gain is found["one"].backward is found["one"].kept is None
    assert found["one"].worst == "fin_argument" and list(found["one"].unseen) == ["fin_argument"]
    assert found["multi"].seen_gain is not None


def test_a_column_without_the_baseline_stays_out_and_is_told() -> None:
    found, sides, problems = told(world(fin_deal=column({"multi": 0.5, "one": 0.5}, "fin_deal", seen=False)))
    assert [one.column.key for one in sides.unseen] == ["fin_argument"]
    assert "fin_deal: the baseline base has no figure there" in problems[0].message
    assert found["one"].backward is not None


def test_a_named_task_counts_as_unseen_by_whatever_way_it_was_asked() -> None:
    further = column(BASE, "gsm8k", seen=None, protocol="gen")
    found, sides, _ = told(world(gsm8k=further), named=["gsm8k", "fin_fomc", "gsm8k"])
    assert [one.column.key for one in sides.seen] == ["fin_fpb"]
    assert list(found["one"].unseen) == [*UNSEEN, "gsm8k", "fin_fomc"]


def test_a_named_task_alone_makes_no_second_protocol() -> None:
    columns = world(hellaswag=column(BASE, "hellaswag", seen=None)) | {"other": column({"one": 0.5}, protocol="gen")}
    assert list(told(columns, named=["hellaswag"])[0]) == ["multi", "one"]
    assert told(columns, named=["hellaswag"], protocol="gen")[0] == {}
    named_only = told({"hellaswag": columns["hellaswag"]}, named=["hellaswag"])[0]["one"]
    assert named_only.worst == "hellaswag" and named_only.seen_gain is None


def test_accuracy_where_a_column_knows_nothing_else() -> None:
    accuracy_only = column(BASE, "hellaswag", seen=None, bare=list(BASE))
    for entry in accuracy_only.entries:
        del entry.reported["weighted_f1"]
    found, sides, _ = told(world(hellaswag=accuracy_only), named=["hellaswag"])
    assert {one.metric for one in found.values()} == {sides.metric} == {"acc"}
    assert found["one"].unseen["hellaswag"].low is None and found["one"].unseen["hellaswag"].value != 0
    assert found["one"].backward.low is None and found["one"].seen_gain.low is not None


def test_without_unseen_columns_there_is_nothing_lost_to_tell() -> None:
    only_seen = {task: one for task, one in world().items() if task in SEEN}
    one: Forgetting = told(only_seen)[0]["one"]
    assert (one.unseen, one.worst, one.backward) == ({}, None, None)
    assert one.seen_gain is not None
    assert told(only_seen, protocol="gen")[0] == {}
