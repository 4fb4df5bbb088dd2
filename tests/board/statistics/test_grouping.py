"""One column a task, never two kinds of rows in one mean, and variants of a task beside the groups."""

from fin_plugins.board.statistics.grouping import columns_of_means
from tests.board.statistics.worlds import column

FEW, MANY = {"a": 0.5}, {"a": 0.5, "b": 0.6}


def chosen(*columns) -> tuple[list[str], list[str]]:
    found, problems = columns_of_means(columns, "choice")
    return [one.key for one in found], [one.message for one in problems]


def test_real_and_whole_before_more_entries() -> None:
    real, sample = column(FEW, key="real"), column(MANY, key="sample", data="sample")
    cut = column(MANY, key="cut", limit="10")
    assert chosen(sample, cut, real) == (["real"], [])
    assert chosen(real, column(MANY, key="more")) == (["more"], [])
    assert chosen(column(FEW, key="first"), column(FEW, key="second")) == (["first"], [])


def test_without_a_real_and_whole_one_the_most_entries_decide() -> None:
    assert chosen(column(FEW, key="cut", limit="10"), column(MANY, key="sample", data="sample")) == (["sample"], [])


def test_kinds_of_rows_are_not_mixed() -> None:
    real = [column(FEW, task) for task in ("fin_fpb", "fin_fomc")]
    keys, messages = chosen(*real, column(FEW, "fin_deal", seen=False, data="sample"))
    assert keys == ["fin_fpb", "fin_fomc"]
    assert messages == ["fin_deal (choice) has sample rows, most tasks real ones: left out of means and places"]
    assert chosen(column(FEW, "fin_deal", data="sample"), real[0])[0] == ["fin_fpb"]  # as many of each: the real ones


def test_other_protocols_other_tasks_and_variants_stay_out() -> None:
    others = [
        column(FEW, "fin_fpb", protocol="gen"),
        column(FEW, "hellaswag", seen=None),
        column(FEW, "fin_causal_full", seen=False),
        column(FEW, "fin_finred_paper"),
    ]
    assert chosen(*others, column(FEW, "fin_causal", seen=False), column(FEW, "theirs")) == (
        ["fin_causal", "theirs"],
        [],
    )
    assert columns_of_means([], "gen") == ((), [])
