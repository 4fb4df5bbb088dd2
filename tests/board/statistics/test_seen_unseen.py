"""Gains and losses agree with the formulas of docs (statistics)."""

import pytest

from fin_plugins.board.board_data import Column, Estimate, Forgetting
from fin_plugins.board.statistics.seen_unseen import measure_forgetting, split_columns
from fin_plugins.stats.paired_tests import compare
from tests.board.statistics.column_factories import column, draw, improved, with_entries

BASE = {"base": 0.45, "multi": 0.7, "one": 0.6}
SEEN = ("fin_fpb", "fin_fomc")
UNSEEN = ("fin_argument", "fin_deal")


def make_columns(skills=BASE, unseen=BASE, **changed: Column) -> dict[str, Column]:
    columns = {task: column(skills, task) for task in SEEN}
    columns |= {task: column(unseen, task, seen=False, labels=2) for task in UNSEEN}
    return columns | changed


def measure(columns: dict[str, Column], named=(), reference: str | None = "multi", protocol="choice"):
    """Forgetting by model, the columns, and the problems."""
    parts = {name: draw(part) for name, part in columns.items()}
    of_means = [part for part in parts.values() if part.column.seen is not None and part.column.protocol == protocol]
    sides, problems = split_columns(list(parts.values()), of_means, protocol, "base", named)
    measured = measure_forgetting(sides, protocol, "base", reference)
    return {part.model: part for part in measured}, sides, problems


def value(columns: dict[str, Column], task: str, model: str, metric: str = "weighted_f1") -> float:
    return draw(columns[task]).figures(model).estimate(metric).value


def test_the_formulas() -> None:
    columns = make_columns()
    changes, sides, problems = measure(columns)
    assert list(changes) == ["multi", "one"] and problems == [] and sides.metric == "weighted_f1"
    for model, forgetting in changes.items():
        change = {task: value(columns, task, model) - value(columns, task, "base") for task in columns}
        assert {key: each.value for key, each in forgetting.unseen.items()} == pytest.approx(
            {t: change[t] for t in UNSEEN}
        )
        assert forgetting.worst == min(UNSEEN, key=change.__getitem__)
        gain = sum(change[task] for task in SEEN) / 2
        assert forgetting.seen_gain.value == pytest.approx(gain)
        assert forgetting.backward.value == pytest.approx(sum(change[task] for task in UNSEEN) / 2)
        assert forgetting.kept.value == pytest.approx(gain / changes["multi"].seen_gain.value)
        for figure in (forgetting.seen_gain, forgetting.backward, *forgetting.unseen.values()):
            assert figure.low < figure.value < figure.high
    assert changes["multi"].kept == Estimate(1.0, pytest.approx(1.0, abs=1e-6), pytest.approx(1.0, abs=1e-6))
    assert changes["one"].kept.low < changes["one"].kept.value < changes["one"].kept.high


def test_changes_are_paired() -> None:
    """Ten of 200 documents more is less than the width of the intervals, but significant when paired."""
    columns = make_columns(fin_deal=column({"base": 0.45}, "fin_deal", seen=False, labels=2))
    base = columns["fin_deal"].entries[0]
    columns["fin_deal"] = with_entries(columns["fin_deal"], base, improved(base, "one", 10))
    estimate = measure(columns)[0]["one"].unseen["fin_deal"]
    before, after = ([*change.documents.answers] for change in columns["fin_deal"].entries)
    expected = compare([*base.documents.gold], before, after, 2)
    assert (estimate.low, estimate.high) == pytest.approx(
        (expected.low.weighted_f1, expected.high.weighted_f1), abs=0.01
    )
    assert 0 < estimate.low < 0.05 < estimate.high < 0.1


@pytest.mark.parametrize("multi", [0.45, 0.3, 0.48])
def test_share_of_an_uncertain_gain_is_none(multi: float) -> None:
    changes = measure(make_columns({"base": 0.45, "multi": multi, "one": 0.6}))[0]
    assert changes["one"].kept is None and changes["one"].seen_gain is not None
    assert measure(make_columns(), reference=None)[0]["one"].kept is None


def test_model_without_a_column_has_no_mean_change() -> None:
    skills = {name: skill for name, skill in BASE.items() if name != "one"}
    changes = measure(
        make_columns(fin_fomc=column(skills, "fin_fomc"), fin_deal=column(skills, "fin_deal", seen=False))
    )[0]
    assert changes["one"].seen_gain is changes["one"].backward is changes["one"].kept is None
    assert changes["one"].worst == "fin_argument" and list(changes["one"].unseen) == ["fin_argument"]
    assert changes["multi"].seen_gain is not None


def test_column_without_baseline_is_excluded() -> None:
    changes, sides, problems = measure(
        make_columns(fin_deal=column({"multi": 0.5, "one": 0.5}, "fin_deal", seen=False))
    )
    assert [change.column.key for change in sides.unseen] == ["fin_argument"]
    assert "fin_deal: the baseline base has no figure there" in problems[0].message
    assert changes["one"].backward is not None


def test_named_task_counts_as_unseen_under_any_protocol() -> None:
    further = column(BASE, "gsm8k", seen=None, protocol="gen")
    changes, sides, _ = measure(make_columns(gsm8k=further), named=["gsm8k", "fin_fomc", "gsm8k"])
    assert [change.column.key for change in sides.seen] == ["fin_fpb"]
    assert list(changes["one"].unseen) == [*UNSEEN, "gsm8k", "fin_fomc"]


def test_a_named_task_alone_makes_no_second_protocol() -> None:
    columns = make_columns(hellaswag=column(BASE, "hellaswag", seen=None)) | {
        "other": column({"one": 0.5}, protocol="gen")
    }
    assert list(measure(columns, named=["hellaswag"])[0]) == ["multi", "one"]
    assert measure(columns, named=["hellaswag"], protocol="gen")[0] == {}
    named_only = measure({"hellaswag": columns["hellaswag"]}, named=["hellaswag"])[0]["one"]
    assert named_only.worst == "hellaswag" and named_only.seen_gain is None


def test_accuracy_is_the_fallback() -> None:
    accuracy_only = column(BASE, "hellaswag", seen=None, bare=list(BASE))
    for entry in accuracy_only.entries:
        del entry.reported["weighted_f1"]
    changes, sides, _ = measure(make_columns(hellaswag=accuracy_only), named=["hellaswag"])
    assert {change.metric for change in changes.values()} == {sides.metric} == {"acc"}
    assert changes["one"].unseen["hellaswag"].low is None and changes["one"].unseen["hellaswag"].value != 0
    assert changes["one"].backward.low is None and changes["one"].seen_gain.low is not None


def test_without_unseen_columns() -> None:
    only_seen = {task: change for task, change in make_columns().items() if task in SEEN}
    change: Forgetting = measure(only_seen)[0]["one"]
    assert (change.unseen, change.worst, change.backward) == ({}, None, None)
    assert change.seen_gain is not None
    assert measure(only_seen, protocol="gen")[0] == {}
