"""Means are unweighted, their intervals those of independent columns, and gaps are told."""

import numpy as np
import pytest

from fin_plugins.board.model import METRICS, Estimate
from fin_plugins.board.statistics.means import averaged, mean_of
from tests.board.statistics.worlds import column, draw

SKILLS = {"a": 0.4, "b": 0.7}


def test_unweighted_over_columns_of_the_group() -> None:
    parts = [draw(column(SKILLS, "fin_fpb", n=100)), draw(column(SKILLS, "fin_fomc", n=400))]
    other = draw(column(SKILLS, "fin_deal", seen=False))
    for model in averaged([*parts, other], "seen"):
        shown = mean_of(model, "choice", "seen")
        assert (shown.columns, shown.missing) == (("fin_fpb", "fin_fomc"), ())
        for metric in METRICS:
            values = [part.figures(shown.model).estimate(metric).value for part in parts]
            assert shown.figures[metric].value == pytest.approx(sum(values) / 2)
    assert averaged([*parts, other], "unseen")[0].columns == ("fin_deal",)
    assert averaged([*parts, other], "all")[0].columns == ("fin_fpb", "fin_fomc", "fin_deal")
    assert averaged(parts, "unseen") == []


def test_the_interval_is_that_of_independent_columns() -> None:
    parts = [draw(column(SKILLS, task), draws=4000) for task in ("fin_fpb", "fin_fomc", "fin_fiqa")]
    spreads = [part.figures("a").draws.std(axis=1) for part in parts]
    mean = averaged(parts, "seen")[0].figures
    assert mean.draws.std(axis=1) == pytest.approx(np.sqrt(np.sum(np.square(spreads), axis=0)) / 3, rel=0.06)
    found = mean.estimate("acc")
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(mean.draws[0], [0.025, 0.975])))


def test_what_a_model_lacks_is_told() -> None:
    parts = [draw(column(SKILLS, "fin_fpb")), draw(column({"a": 0.4}, "fin_fomc"))]
    a, b = averaged(parts, "seen")
    assert (a.missing, b.missing, b.columns) == ((), ("fin_fomc",), ("fin_fpb",))


def test_one_column_without_documents_takes_the_interval_away() -> None:
    parts = [draw(column(SKILLS, "fin_fpb")), draw(column(SKILLS, "fin_fomc", bare=["a"]))]
    a, b = (mean_of(one, "choice", "seen") for one in averaged(parts, "seen"))
    assert a.figures.keys() == {"acc", "weighted_f1"}  # all the harness reported
    own = parts[0].figures("a").estimate("weighted_f1").value
    assert a.figures["weighted_f1"] == Estimate(pytest.approx((own + 0.5) / 2), None, None)
    assert b.figures["weighted_f1"].low is not None
